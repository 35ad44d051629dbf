"""The recipes of rewritings: layout, templates and output as they were, so that a past one can be computed again.

Owns the tables `recipe` and `recipe_text`: each recipe once, each text it stands on once. Rewrites nothing.
"""

from __future__ import annotations

import json
from typing import Any

from cegid_daemon.journal.connection import Connection
from cegid_daemon.rewrite.recipe import Recipe, recipe_from_json


class Recipes:
    """The recipes, by their id."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    def keep(self, recipe: Recipe) -> int:
        """The id of a recipe, kept once per content together with every text it stands on."""
        sha256 = recipe.sha256
        known = self._db.query("SELECT id FROM recipe WHERE sha256 = ?", (sha256,))
        if known:
            return int(known[0][0])
        with self._db.transaction():
            self._db.executemany(
                "INSERT OR IGNORE INTO recipe_text (sha256, body) VALUES (?, ?)", list(recipe.texts().items())
            )
            self._db.execute(
                "INSERT OR IGNORE INTO recipe (sha256, body) VALUES (?, ?)",
                (sha256, json.dumps(recipe.as_json(), sort_keys=True, ensure_ascii=False)),
            )
            return int(self._value("SELECT id FROM recipe WHERE sha256 = ?", (sha256,)))

    def one(self, recipe: int) -> Recipe:
        """A recipe as it was kept."""
        body = json.loads(self._value("SELECT body FROM recipe WHERE id = ?", (recipe,)))
        return recipe_from_json(body, self._text)

    def _text(self, sha256: str) -> str:
        return str(self._value("SELECT body FROM recipe_text WHERE sha256 = ?", (sha256,)))

    def _value(self, sql: str, params: tuple[object, ...]) -> Any:
        return self._db.query(sql, params)[0][0]

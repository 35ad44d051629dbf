"""What every table of the configuration file is: keys with a meaning each, and no key that is not declared."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


def key(default: Any, meaning: str, *, shown: str = "") -> Any:
    """A key that may be left out; `shown` is the default as the reference words it."""
    return Field(default, description=meaning, json_schema_extra={"shown": shown})


def needed(meaning: str) -> Any:
    """A key that must be there."""
    return Field(description=meaning)


class Table(BaseModel):
    """A table: unknown keys are refused and nothing is converted."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, arbitrary_types_allowed=True)

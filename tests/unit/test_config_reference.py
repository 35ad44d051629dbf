"""The page a person reads and the schema the program reads say the same."""

from pathlib import Path

from cegid_daemon.config import later, layout_tables, reference, schema, site_tables
from cegid_daemon.config.tables import Table

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_configuration_page_is_what_the_schema_says():
    assert PAGE.read_text() == reference.reference(), "run: make reference"


def test_every_table_of_the_schema_is_on_the_page_and_every_key_has_a_meaning():
    declared = [one for room in (schema, layout_tables, site_tables) for one in vars(room).values()]
    tables = {one for one in declared if isinstance(one, type) and issubclass(one, Table)}
    assert tables - {Table, site_tables.SiteTable} == {table for _, table in reference._TABLES}
    assert all(field.description for table in tables for field in table.model_fields.values())


def test_keys_of_later_work_are_listed_as_such_only():
    page = PAGE.read_text()
    assert all(f"- `{key}`" in page for key in later.KEYS)
    assert "| `hold` |" not in page

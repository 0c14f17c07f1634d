"""How a record becomes a table: each field a column."""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

__all__ = ["insert_if_new", "metadata", "table_of"]


class _JsonText(sa.TypeDecorator[Any]):
    """A value kept as JSON in a text column; None is NULL.

    SQLAlchemy's own JSON type cannot hold labels: PostgreSQL compares and groups no JSON, and
    SQLite turns the text of a number into another number.
    """

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str | None:
        return None if value is None else json.dumps(value, sort_keys=True)

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Any:
        return None if value is None else json.loads(value)


metadata = sa.MetaData()
_TYPES = {int: sa.Integer, float: sa.Float, bool: sa.Boolean, str: sa.Text}


def _column(name: str, hint: Any, *, key: bool = False) -> sa.Column[Any]:
    """Return the column of a record's field; what is no number or text is kept as JSON."""
    members = get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    kind = next(one for one in members if one is not types.NoneType)
    nullable = types.NoneType in members or kind is Any
    column_type = _TYPES.get(kind, _JsonText)()
    return sa.Column(name, column_type, primary_key=key, autoincrement=False, nullable=nullable)


def table_of(name: str, record: type, *key: str) -> sa.Table:
    """Return the table of a record; ``project_id`` is put before it where it is only in the key."""
    hints = get_type_hints(record)
    if "project_id" in key:
        hints = {"project_id": int} | hints
    columns = [_column(one, hint, key=one in key) for one, hint in hints.items()]
    return sa.Table(name, metadata, *columns)


def insert_if_new(
    connection: sa.Connection, table: sa.Table, values: Mapping[str, Any]
) -> sa.Insert:
    """Return the statement that inserts a row, or does nothing where its key exists."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table).values(values).on_conflict_do_nothing()
    return sqlite.insert(table).values(values).on_conflict_do_nothing()

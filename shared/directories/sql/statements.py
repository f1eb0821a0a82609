"""Read the file that says where users stand in a database: a table, or statements of one's own."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from shared.directories.formats import FORMATS
from shared.errors import SettingsError
from shared.validation import nearest

PRESETS = Path(__file__).parent.parent / "presets"
# What a row may have: from a column, or from a column of this name in the result of `find`.
FIELDS = ("id", "org", "user_name", "display_name", "language", "email", "email_verified", "phone",
          "phone_verified", "active", "locked", "state", "kind", "password",
          "change_required")  # fmt: skip
CONSTANTS = ("email_verified", "phone_verified")  # may be true or false instead of a column
IDENTIFIERS = ("email", "phone", "user_name")
KEYS = ("table", "columns", "hash", "cost", "lower_case",
        "find", "set_password", "find_by_identifier", "end_sessions")  # fmt: skip
# Statement → the parameters it must have, and those it may have.
PARAMETERS: dict[str, tuple[set[str], set[str]]] = {
    "find": ({"id"}, set()),
    "set_password": ({"id", "password"}, {"old_password", "change_required"}),
    "find_by_identifier": ({"identifier"}, set()),
    "end_sessions": ({"id"}, set()),
}
# Here a transaction that reads first and writes then would end others with a deadlock.
LOCKING = ("mysql", "mariadb")
SAME = {"sqlite": "IS", "mysql": "<=>", "mariadb": "<=>"}  # as "=", but for NULL too
_NAME = re.compile(r"[^\W\d]\w{0,62}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Statements:
    """What is executed, and how its rows are read."""

    hash: str
    cost: int
    constants: Mapping[str, bool]
    find: sa.Executable
    find_to_write: sa.Executable  # as find, in the transaction that sets the password
    find_many: sa.Executable | None
    find_by_identifier: sa.Executable | None
    set_password: sa.Executable
    end_sessions: tuple[sa.Executable, ...]
    keeps_change_required: bool
    folds_case: bool  # find_by_identifier compares lower(column)
    table: sa.TableClause | None  # None: statements of one's own
    columns: Mapping[str, str]  # field → column of the table


def load_statements(preset: str, dialect: sa.Dialect) -> Statements:
    """Return the statements of a preset, or of a file of that path.

    Raises:
        SettingsError: it cannot be read, or says too little, too much or something wrong.
    """
    try:
        return _read(_load(preset), dialect)
    except ValueError as error:
        raise SettingsError(f"KEYTURN_DIRECTORY_PRESET: {preset or 'it'} {error}") from error


def _load(preset: str) -> dict[str, Any]:
    known = sorted(path.stem for path in PRESETS.glob("*.toml"))
    path = PRESETS / f"{preset}.toml" if preset in known else Path(preset).expanduser()
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError) as error:
        names = ", ".join(known)
        raise ValueError(f"must be one of {names}, or the path of a file as they are") from error
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"is not TOML: {error}") from error


def _read(given: dict[str, Any], dialect: sa.Dialect) -> Statements:
    if unknown := [key for key in given if key not in KEYS]:
        near = nearest(unknown[0], KEYS)
        raise ValueError(f"has the key {unknown[0]}, which is unknown; the nearest is {near}")
    form = given.get("hash")
    if not isinstance(form, str) or form not in FORMATS:
        raise ValueError(f"needs hash, one of {', '.join(FORMATS)}")
    end, own_columns = given.get("end_sessions", []), given.get("columns", {})
    if not isinstance(end, list | str) or not isinstance(own_columns, dict):
        problem = "must give end_sessions as statements, and columns as a table"
        raise ValueError(problem)  # noqa: TRY004 - the file's fault, not ours
    end = [end] if isinstance(end, str) else end
    shared = {
        "hash": form,
        "cost": _cost(form, given),
        "end_sessions": tuple(_text("end_sessions", each) for each in end),
    }
    if "table" in given:
        if own := sorted({"find", "set_password", "find_by_identifier"} & set(given)):
            raise ValueError(f"has both table and {own[0]}; keep the table, or all statements")
        return _of_table(given, dialect, shared)
    return _of_own(given, dialect, shared)


def _cost(form: str, given: dict[str, Any]) -> int:
    allowed, cost = FORMATS[form].costs, given.get("cost", 0)
    if "cost" in given and not allowed:
        raise ValueError(f"has a cost, which {form} does not take")
    if "cost" in given and (type(cost) is not int or cost not in allowed):
        raise ValueError(f"has a cost that is no whole number from {allowed[0]} to {allowed[-1]}")
    return int(cost)


def _of_own(given: dict[str, Any], dialect: sa.Dialect, shared: dict[str, Any]) -> Statements:
    for name in ("find", "set_password"):
        if name not in given:
            raise ValueError(f"needs {name}, or table and columns")
    find, by_identifier = _text("find", given["find"]), given.get("find_by_identifier")
    constants = given.get("columns", {})
    if set(constants) - set(CONSTANTS) or not all(
        type(each) is bool for each in constants.values()
    ):
        raise ValueError("may have email_verified and phone_verified, true or false, as columns; "
                         "all others are named in `find`: SELECT login AS user_name")  # fmt: skip
    return Statements(
        **shared,
        constants=constants,
        find=find,
        find_to_write=sa.text(f"{find.text} FOR UPDATE") if dialect.name in LOCKING else find,
        find_many=None,
        find_by_identifier=by_identifier and _text("find_by_identifier", by_identifier),
        set_password=_text("set_password", given["set_password"]),
        keeps_change_required=":change_required" in given["set_password"],
        folds_case=False,
        table=None,
        columns={},
    )


def _text(name: str, text: Any) -> sa.TextClause:
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"must give {name} as a statement in quotes")
    statement = sa.text(text)
    found = set(statement.compile().params)
    needed, more = PARAMETERS[name]
    for each in sorted(needed - found):
        raise ValueError(f"has a statement {name} without the parameter :{each}; write it in")
    for each in sorted(found - needed - more):
        known = ", ".join(f":{parameter}" for parameter in sorted(needed | more))
        raise ValueError(f"has a statement {name} with :{each}; known are {known}")
    return statement


def _of_table(given: dict[str, Any], dialect: sa.Dialect, shared: dict[str, Any]) -> Statements:
    columns = _columns(given.get("columns", {}))
    named = {field: name for field, name in columns.items() if isinstance(name, str)}
    table_name = given["table"]
    *schema, name = table_name.split(".") if isinstance(table_name, str) else [""]
    if len(schema) > 1 or not all(_NAME.fullmatch(part) for part in (*schema, name)):
        raise ValueError("must name the table as users, or as schema.users")
    table = sa.table(name, *map(sa.column, set(named.values())), schema=next(iter(schema), None))
    at = {field: table.c[column] for field, column in named.items()}
    rows = sa.select(*(column.label(field) for field, column in at.items()))
    typed: sa.BindParameter[str] = sa.bindparam("identifier")
    is_id = at["id"] == sa.bindparam("id")
    # MySQL's collations compare without case, and lower() would hide the index from it.
    plain = given.get("lower_case") is True or dialect.name in LOCKING
    same = [(column if plain else sa.func.lower(column)) == typed
            for field in IDENTIFIERS if (column := at.get(field)) is not None]  # fmt: skip
    return Statements(
        **shared,
        constants={field: flag for field, flag in columns.items() if isinstance(flag, bool)},
        find=rows.where(is_id),
        find_to_write=rows.where(is_id).with_for_update()
        if dialect.name in LOCKING
        else rows.where(is_id),
        find_many=rows.where(at["id"].in_(sa.bindparam("ids", expanding=True))),
        find_by_identifier=rows.where(sa.or_(*same)) if same else None,
        set_password=_update(table, at, dialect),
        keeps_change_required="change_required" in at,
        folds_case=not plain,
        table=table,
        columns=named,
    )


def _update(
    table: sa.TableClause, at: Mapping[str, sa.ColumnClause[Any]], dialect: sa.Dialect
) -> sa.TextClause:
    """Return the statement that sets a password if the present one is still the one that was read.

    It is a text, as SQLAlchemy's own `update` takes a parameter named as a column for a new value.
    """
    quote, same = dialect.identifier_preparer.quote, SAME.get(dialect.name, "IS NOT DISTINCT FROM")
    written = [each for each in ("password", "change_required") if each in at]
    new = ", ".join(f"{quote(at[field].name)} = :{field}" for field in written)
    where = f"{quote(at['id'].name)} = :id AND {quote(at['password'].name)} {same} :old_password"
    name = dialect.identifier_preparer.format_table(table)
    return sa.text(f"UPDATE {name} SET {new} WHERE {where}")  # noqa: S608 - checked names


def _columns(given: dict[str, Any]) -> dict[str, str | bool]:
    if not {"id", "password"} <= set(given):
        raise ValueError("needs [columns] with at least id and password")
    for field, name in given.items():
        if field not in FIELDS:
            near = nearest(field, FIELDS)
            raise ValueError(f"has the column {field}, which is unknown; the nearest is {near}")
        is_constant = field in CONSTANTS and isinstance(name, bool)
        if not is_constant and not (isinstance(name, str) and _NAME.fullmatch(name)):
            raise ValueError(f'must name the column for {field}, such as {field} = "{field}"')
    return given

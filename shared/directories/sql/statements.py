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
WRITTEN = ("password", "change_required")
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
    find: sa.TextClause
    find_to_write: sa.TextClause  # as find, in the transaction that sets the password
    find_many: sa.TextClause | None  # by `ids`
    find_by_identifier: sa.TextClause | None
    set_password: sa.TextClause
    end_sessions: tuple[sa.TextClause, ...]
    folds_case: bool  # find_by_identifier compares lower(column)
    table: sa.TableClause | None  # None: statements of one's own
    columns: Mapping[str, str]  # field → column of the table

    @property
    def keeps_change_required(self) -> bool:
        """Return True if a change of password can be required."""
        return ":change_required" in self.set_password.text


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
    end, columns = given.get("end_sessions", []), given.get("columns", {})
    kinds = (end, list | str), (columns, dict), (given.get("lower_case", False), bool)
    if not all(isinstance(value, kind) for value, kind in kinds):
        problem = "must give end_sessions as statements, columns as a table, lower_case as true"
        raise ValueError(problem)
    table, texts = None, given
    if "table" in given:
        if own := sorted({"find", "set_password", "find_by_identifier"} & set(given)):
            raise ValueError(f"has both table and {own[0]}; keep the table, or all statements")
        table, texts = _table(given["table"], columns), _texts(given, columns, dialect)
    elif not all(each in CONSTANTS and type(flag) is bool for each, flag in columns.items()):
        raise ValueError("may have email_verified and phone_verified, true or false, as columns; "
                         "all others are named in `find`: SELECT login AS user_name")  # fmt: skip
    for name in ("find", "set_password"):
        if name not in texts:
            raise ValueError(f"needs {name}, or table and columns")
    find, many = _statement("find", texts["find"]), texts.get("find_many")
    by_identifier = texts.get("find_by_identifier")
    return Statements(
        hash=form,
        cost=_cost(form, given),
        constants={field: flag for field, flag in columns.items() if isinstance(flag, bool)},
        find=find,
        find_to_write=sa.text(f"{find.text} FOR UPDATE") if dialect.name in LOCKING else find,
        find_many=sa.text(many).bindparams(sa.bindparam("ids", expanding=True)) if many else None,
        find_by_identifier=by_identifier and _statement("find_by_identifier", by_identifier),
        set_password=_statement("set_password", texts["set_password"]),
        end_sessions=tuple(
            _statement("end_sessions", each) for each in ([end] if isinstance(end, str) else end)
        ),
        folds_case=table is not None and not _is_plain(given, dialect),
        table=table,
        columns={field: name for field, name in columns.items() if isinstance(name, str)},
    )


def _cost(form: str, given: Mapping[str, Any]) -> int:
    allowed, cost = FORMATS[form].costs, given.get("cost", 0)
    if "cost" in given and not allowed:
        raise ValueError(f"has a cost, which {form} does not take")
    if "cost" in given and (type(cost) is not int or cost not in allowed):
        raise ValueError(f"has a cost that is no whole number from {allowed[0]} to {allowed[-1]}")
    return int(cost)


def _statement(name: str, text: Any) -> sa.TextClause:
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


def _table(named: Any, columns: Mapping[str, Any]) -> sa.TableClause:
    *schema, name = named.split(".") if isinstance(named, str) else [""]
    if len(schema) > 1 or not all(_NAME.fullmatch(part) for part in (*schema, name)):
        raise ValueError("must name the table as users, or as schema.users")
    if not {"id", "password"} <= set(columns):
        raise ValueError("needs [columns] with at least id and password")
    for field, column in columns.items():
        if field not in FIELDS:
            near = nearest(field, FIELDS)
            raise ValueError(f"has the column {field}, which is unknown; the nearest is {near}")
        is_constant = field in CONSTANTS and isinstance(column, bool)
        if not is_constant and not (isinstance(column, str) and _NAME.fullmatch(column)):
            raise ValueError(f'must name the column for {field}, such as {field} = "{field}"')
    names = {column for column in columns.values() if isinstance(column, str)}
    return sa.table(name, *map(sa.column, names), schema=next(iter(schema), None))


def _is_plain(given: Mapping[str, Any], dialect: sa.Dialect) -> bool:
    """Return True if columns are compared as they stand.

    MySQL's collations compare without case, and lower() would hide the index from it.
    """
    return given.get("lower_case") is True or dialect.name in LOCKING


def _texts(
    given: Mapping[str, Any], columns: Mapping[str, Any], dialect: sa.Dialect
) -> dict[str, str]:
    """Return the statements over a table, whose names were checked.

    A password is set if the present one is still the one that was read.
    """
    quote = dialect.identifier_preparer.quote
    table = ".".join(map(quote, given["table"].split(".")))
    at = {field: quote(name) for field, name in columns.items() if isinstance(name, str)}
    shown = ", ".join(f"{column} AS {quote(field)}" for field, column in at.items())
    rows = f"SELECT {shown} FROM {table} WHERE"  # noqa: S608
    same = SAME.get(dialect.name, "IS NOT DISTINCT FROM")
    new = ", ".join(f"{at[field]} = :{field}" for field in WRITTEN if field in at)
    form = "{}" if _is_plain(given, dialect) else "lower({})"
    typed = [f"{form.format(at[field])} = :identifier" for field in IDENTIFIERS if field in at]
    texts = {
        "find": f"{rows} {at['id']} = :id",
        "find_many": f"{rows} {at['id']} IN :ids",
        "set_password": f"UPDATE {table} SET {new} WHERE {at['id']} = :id "  # noqa: S608
        f"AND {at['password']} {same} :old_password",
    }
    return texts | ({"find_by_identifier": f"{rows} {' OR '.join(typed)}"} if typed else {})

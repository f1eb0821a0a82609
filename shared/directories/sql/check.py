"""Look whether a database is as the settings describe it; nothing is changed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa

from shared.directories.formats import FORMATS, is_known
from shared.directories.gate import Finding, describe_user
from shared.directories.sql.statements import FIELDS, IDENTIFIERS
from shared.errors import DirectoryUnavailableError
from shared.validation import nearest

if TYPE_CHECKING:
    from shared.directories.sql import SqlDirectory

NOBODY = "0"
WITHOUT_TRANSACTIONS = ("MyISAM", "Aria", "MEMORY", "CSV")  # MySQL, MariaDB
AWAY = ("the database of KEYTURN_DIRECTORY_URL does not answer in time; start it, or correct its "
        "host, user, password or name")  # fmt: skip


def inspect(directory: SqlDirectory, user_id: str, *, writes: bool) -> Iterator[Finding]:
    """Yield what is right and wrong. `writes`: try the password's statement, and roll it back.

    `user_id` is the sample; empty is the table's first.
    """
    at, table = directory.statements, directory.statements.table
    steps: list[Callable[[sa.Connection], list[Finding]]] = []
    if table is not None:
        steps = [partial(_check_table, directory, table), partial(_check_indexes, directory, table)]
    for name in ("find", "find_by_identifier"):
        if (statement := getattr(at, name)) is not None:
            steps.append(partial(_check_statement, directory, name, statement))
    if at.find_by_identifier is None:
        yield Finding("warning", "no find_by_identifier: users are found by their id alone")
    steps.append(partial(_check_sample, directory, user_id))
    writing = partial(_check_writing, directory, user_id)
    steps += [writing] if writes else []
    try:
        with directory.session():
            url = directory.engine.url.set(query={})  # which may hold another password
            yield Finding("ok", f"connects to {url.render_as_string()}")
        for step in steps:
            with directory.session(writes=step is writing) as connection:
                found = step(connection)
            yield from found
            if any(each.level == "error" for each in found):
                return
    except DirectoryUnavailableError:
        yield Finding("away", AWAY)


def _check_table(
    directory: SqlDirectory, table: sa.TableClause, connection: sa.Connection
) -> list[Finding]:
    inspector, columns = sa.inspect(connection), directory.statements.columns
    if not inspector.has_table(table.name, table.schema):
        return [Finding("error", f"there is no table {table.fullname}; the preset must name yours")]
    known = {each["name"]: each["type"] for each in inspector.get_columns(table.name, table.schema)}
    found = []
    for field, column in columns.items():
        if column not in known:
            near = nearest(column, list(known))
            found.append(Finding("error", f"the table {table.fullname} has no column {column} (for "
                                          f"{field}); the nearest is {near}"))  # fmt: skip
        elif field in ("password", *IDENTIFIERS) and not isinstance(known[column], sa.String):
            level: Literal["error", "warning"] = "error" if field == "password" else "warning"
            found.append(Finding(level, f"the column {column} is {known[column]}, no text"))
    engine = inspector.get_table_options(table.name, table.schema).get(
        f"{directory.engine.dialect.name}_engine", "InnoDB"
    )
    if engine in WITHOUT_TRANSACTIONS:
        text = f"the table {table.fullname} knows no transactions: ALTER TABLE ... ENGINE=InnoDB"
        found.append(Finding("error", text))
    length = getattr(known.get(columns["password"]), "length", None)
    needed = FORMATS[directory.statements.hash].characters
    if length is not None and length < needed:
        text = f"the column {columns['password']} holds {length} characters, a hash has {needed}"
        found.append(Finding("error", f"{text}: make it longer"))
    return found or [Finding("ok", f"the table {table.fullname} has every column that is named")]


def _check_indexes(
    directory: SqlDirectory, table: sa.TableClause, connection: sa.Connection
) -> list[Finding]:
    inspector, columns = sa.inspect(connection), directory.statements.columns
    with warnings.catch_warnings():  # SQLite's indexes on expressions are not told
        warnings.simplefilter("ignore", sa.exc.SAWarning)
        indexes = inspector.get_indexes(table.name, table.schema)
    firsts: list[str] = [
        *inspector.get_pk_constraint(table.name, table.schema)["constrained_columns"][:1]
    ]
    for each in inspector.get_unique_constraints(table.name, table.schema):
        firsts += each["column_names"][:1]
    for index in indexes:
        firsts += [str(index.get("expressions", index["column_names"])[0])]
    found = []
    for field in ("id", *IDENTIFIERS):
        column, folds = columns.get(field), directory.statements.folds_case and field != "id"
        if column is None:
            continue
        served = [each for each in firsts if (each.lower().startswith("lower(") and column in each
                                              if folds else each == column)]  # fmt: skip
        text = f"no index serves the look-up by {field}, so it reads the whole table: CREATE INDEX"
        wanted = f"{text} ... ON {table.fullname} ({f'lower({column})' if folds else column})"
        served_text = f"an index serves the look-up by {field}"
        found.append(Finding("ok", served_text) if served else Finding("warning", wanted))
    return found


def _check_statement(
    directory: SqlDirectory, name: str, statement: sa.Executable, connection: sa.Connection
) -> list[Finding]:
    values = {"id": NOBODY, "identifier": "nobody@keyturn.invalid"}
    try:
        keys = set(connection.execute(statement, values).keys())
    except sa.exc.DataError:  # the id's type has no such value
        return [Finding("ok", f"the statement {name} runs")]
    except sa.exc.DBAPIError as error:
        return [Finding("error", f"the statement {name} fails: {_reason(error)}")]
    needed = {"id", "password"} if directory.org_id else {"id", "password", "org"}
    if missing := sorted(needed - keys):
        text = f"returns no column {missing[0]}; name it, as in SELECT login AS {missing[0]}"
        more = "; or set KEYTURN_DIRECTORY_ORG" if missing[0] == "org" else ""
        return [Finding("error", f"the statement {name} {text}{more}")]
    unknown = [
        f"{each} (the nearest is {nearest(each, FIELDS)})" for each in sorted(keys - set(FIELDS))
    ]
    return [Finding("warning", f"the statement {name} returns what is not read: {each}")
            for each in unknown] or [Finding("ok", f"the statement {name} runs")]  # fmt: skip


def _sample(directory: SqlDirectory, user_id: str, connection: sa.Connection) -> Any:
    """Return the row of the sample user; None if there is none."""
    table, columns = directory.statements.table, directory.statements.columns
    if not user_id and table is not None:
        at = table.c[columns["id"]]
        has_password = table.c[columns["password"]].is_not(None)
        user_id = str(connection.scalar(sa.select(at).where(has_password).limit(1)) or "")
    return directory.find_row(connection, user_id) if user_id else None


def _check_sample(
    directory: SqlDirectory, user_id: str, connection: sa.Connection
) -> list[Finding]:
    row = _sample(directory, user_id, connection)
    user = directory.read_row(row)
    if row is None or user is None:
        return [Finding("warning", "there is no sample user; name one with --user ID")]
    found = [Finding("ok", f"a user: {describe_user(user)}")]
    if row["password"] and not is_known(str(row["password"])):
        found.append(Finding("warning", "its password's hash has an unknown format: as current "
                                        "password, any is wrong"))  # fmt: skip
    return found


def _check_writing(
    directory: SqlDirectory, user_id: str, connection: sa.Connection
) -> list[Finding]:
    row, at = _sample(directory, user_id, connection), directory.statements
    if row is None:
        return [Finding("warning", "writing was not tried, for want of a sample user")]
    password = row["password"]
    values = {"id": str(row["id"]), "password": password, "old_password": password,
              "change_required": bool(row.get("change_required"))}  # fmt: skip
    try:
        count = connection.execute(at.set_password, values).rowcount
        for each in at.end_sessions:
            connection.execute(each, values)
    except sa.exc.DBAPIError as error:
        return [Finding("error", f"the password cannot be written: {_reason(error)}; GRANT SELECT, "
                                 "UPDATE on the table, and what end_sessions needs")]  # fmt: skip
    finally:
        connection.rollback()
    if count != 1:
        return [Finding("error", f"set_password changes {count} users instead of one")]
    return [Finding("ok", "the password may be written (tried, and rolled back)")]


def _reason(error: sa.exc.DBAPIError) -> str:
    """Return the first line of the database's own text; the values are those of nobody."""
    args = getattr(error.orig, "args", None) or [error.orig]
    return str(args[-1]).splitlines()[0][:200]

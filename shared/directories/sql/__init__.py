"""The directory of an application's own database: PostgreSQL, MySQL, MariaDB or SQLite."""

from __future__ import annotations

import hashlib
import os
import select
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from shared import validation
from shared.directories.formats import ApplicationHasher
from shared.directories.gate import (
    CALLS_AT_ONCE,
    Finding,
    Gate,
    OutsideDirectory,
    choose_users,
    is_id,
    read_identifier,
    refuse,
)
from shared.directories.passwords import Hasher
from shared.directories.sql import check
from shared.directories.sql.statements import Statements, load_statements
from shared.directories.user_import import NAME_CHARACTERS
from shared.errors import (
    DirectoryUnavailableError,
    InvalidRequestError,
    SettingsError,
    UserChangedError,
)
from shared.models import Channel, Recipient, User, UserKind, UserState

DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg",
           "mysql": "mysql+pymysql", "mariadb": "mariadb+pymysql", "sqlite": "sqlite"}  # fmt: skip
# MySQL and MariaDB read FOR UPDATE.
BEGIN = {"postgresql": "BEGIN ISOLATION LEVEL SERIALIZABLE", "sqlite": "BEGIN IMMEDIATE"}
RECYCLE_SECONDS = 300
IDS_PER_STATEMENT = 500
TRIES = 3  # of a change that others change too
NO_USER = "0"  # read in place of a user who does not exist
# Another transaction was first: PostgreSQL's states, MySQL's and MariaDB's numbers.
FIRST = ("40001", "40P01", 1213, 1020)
UNFIT = (1267, 1366, 3988)  # MySQL: the column's character set lacks what was asked for

Row = Mapping[str, Any]


class SqlDirectory(OutsideDirectory):
    """Fulfils Directory over a table, or over statements of the application's owner."""

    def __init__(
        self, url: str, preset: str, *, org_id: str, timeout_seconds: float,
        make_hasher: Callable[[Statements], Hasher] | None = None,
    ) -> None:  # fmt: skip
        """Connect with the first call. `org_id` is everyone's, unless there is a column for it.

        Raises:
            SettingsError: the URL or the preset is wrong.
        """
        self._timeout_seconds, self.org_id = timeout_seconds, org_id
        self.engine = _make_engine(url, timeout_seconds)
        self._of_thread = threading.local()
        sa.event.listen(self.engine, "do_connect", self._connect)
        sa.event.listen(self.engine, "checkout", self._take)
        self.statements = load_statements(preset, self.engine.dialect)
        at = self.statements
        if at.table is not None and not org_id and "org" not in at.columns:
            raise SettingsError(
                "KEYTURN_DIRECTORY_ORG must name the organisation of the users, for the table has "
                "no column `org`"
            )
        self._hasher = make_hasher(at) if make_hasher else ApplicationHasher(at.hash, cost=at.cost)
        self.gate = Gate(wait_seconds=timeout_seconds)

    def find_user(self, user_id: str) -> User | None:
        """Return the user, or None if the id is unknown. One statement."""
        with self.session() as connection:
            row = self.find_row(connection, user_id)
        return self.read_row(row)

    def find_users(self, user_ids: Sequence[str]) -> list[User | None]:
        """Return what `find_user` returns for each; five hundred a statement, if it is a table."""
        many, found = self.statements.find_many, dict[str, User | None]()
        fit = [each for each in user_ids if is_id(each)]
        for first in range(0, len(fit), IDS_PER_STATEMENT):
            some = fit[first : first + IDS_PER_STATEMENT]
            with self.session() as connection:
                rows = None if many is None else self._rows(connection, many, {"ids": some})
            if rows is None:  # no table, or the column's type does not take one of the ids
                found |= {each: self.find_user(each) for each in some}
            else:
                found |= {each: self.read_row(row) for each, row in _by_id(rows).items()}
        return [found.get(each) for each in user_ids]

    def find_users_by_address(self, address: str) -> list[User]:
        """Return all users with this e-mail address or phone number, verified or not.

        Raises:
            InvalidRequestError: there is no statement for it.
        """
        if self.statements.find_by_identifier is None:
            raise InvalidRequestError(
                "the directory finds users by their id alone: give it `find_by_identifier`"
            )
        return super().find_users_by_address(address)

    def find_by_identifier(self, identifier: str, org_id: str | None) -> list[User]:
        """Return whose e-mail address, phone number or user name this is, by id.

        One statement; another one for an address whose domain is spelled in two ways.
        """
        statement, wanted = self.statements.find_by_identifier, read_identifier(identifier)
        if statement is None or wanted is None:
            return []
        spellings = {wanted}
        with suppress(ValueError):
            spellings |= {validation.ascii_address(wanted)} if "@" in wanted else set()
        with self.session() as connection:
            rows: list[Row] = []
            for each in sorted(spellings):
                rows += self._rows(connection, statement, {"identifier": each}) or ()
        return choose_users(map(self.read_row, rows), wanted, org_id)

    def set_password(
        self,
        user: User,
        password: str,
        *,
        change_required: bool = False,
        only_if: Callable[[User], bool] | None = None,
    ) -> User:
        """Store the new password and end the user's sessions in one transaction.

        A table's statement repeats the password that was read: a change between `only_if` and the
        writing makes the write fail, and it is asked again.

        Raises:
            InvalidRequestError: the directory cannot keep `change_required`.
        """
        if change_required and not self.statements.keeps_change_required:
            raise InvalidRequestError("the directory has no column for changeRequired")
        values = {"id": user.user_id, "password": self._hasher.hash(password),
                  "change_required": change_required}  # fmt: skip
        for _ in range(TRIES):
            with self.session(writes=True) as connection:
                row = self.find_row(connection, user.user_id, self.statements.find_to_write)
                now = self.read_row(row)
                if row is None or now is None or (only_if and not only_if(now)):
                    raise UserChangedError
                if self.write(connection, values | {"old_password": row["password"]}):
                    return now
        raise DirectoryUnavailableError

    def write(self, connection: sa.Connection, values: Mapping[str, Any]) -> bool:
        """Write and commit; return False, with nothing written, if another change was first."""
        try:
            count = connection.execute(self.statements.set_password, values).rowcount
            if count > 1:
                raise refuse("set_password changes more than one user")
            if count == 1:
                for each in self.statements.end_sessions:
                    connection.execute(each, values)
                connection.commit()
        except sa.exc.DBAPIError as error:
            if _number(error) in FIRST or "database is locked" in str(error.orig):
                return False
            raise
        return count == 1

    def has_password(self, user: User | None, password: str) -> bool:
        """Return True if `password` is the user's present one; no user takes the same steps."""
        with self.session() as connection:
            row = self.find_row(connection, user.user_id if user else NO_USER)
        known = str(row["password"]) if row and user and row["password"] else None
        return self._hasher.matches(known, password)

    def inspect(self, user_id: str = "", *, writes: bool = False) -> Iterator[Finding]:
        """Yield what is right and what is wrong with the database; change nothing."""
        return check.inspect(self, user_id, writes=writes)

    def close(self) -> None:
        """Close the idle connections."""
        self.engine.dispose()

    @contextmanager
    def session(self, *, writes: bool = False) -> Iterator[sa.Connection]:
        """Yield a connection for at most the time of one call; roll back what is not committed.

        `writes`: in a transaction; else each statement stands alone.

        Raises:
            DirectoryUnavailableError: the database does not do what it was asked.
        """
        with self.gate.call():
            try:
                with self.engine.connect() as connection:
                    if writes:  # not by SQLAlchemy, which would let the driver's errors through
                        connection.exec_driver_sql(BEGIN.get(connection.dialect.name, "BEGIN"))
                    yield connection
            except sa.exc.SQLAlchemyError as error:  # its text may hold values
                raise refuse(f"{type(error).__name__} {_number(error)}") from None
            finally:
                self._limit(None)

    def _connect(
        self, dialect: sa.Dialect, _record: Any, args: Sequence[Any], options: dict[str, Any]
    ) -> Any:
        """Return a new connection of the driver, whose first statements are limited too."""
        driver = dialect.loaded_dbapi
        try:
            connection = dialect.connect(*args, **options)
        except (TypeError, ValueError, driver.ProgrammingError):  # its text may hold a password
            raise SettingsError(
                "KEYTURN_DIRECTORY_URL has a host or an option that the database's driver refuses"
            ) from None
        self._limit(connection)
        return connection

    def _take(self, connection: Any, _record: Any, _proxy: Any) -> None:
        """Limit what a pool's connection does; replace one that the server has closed.

        That costs no round trip.
        """
        descriptor = _socket_of(connection)
        if descriptor is not None and select.select([descriptor], [], [], 0)[0]:
            raise sa.exc.DisconnectionError
        self._limit(connection)

    def _limit(self, connection: Any) -> None:
        """Cut this thread's connection off when the time of a call is over; None: it has ended."""
        if watch := getattr(self._of_thread, "watch", None):
            watch.cancel()
        self._of_thread.watch = None
        if connection is not None:
            self._of_thread.watch = watch = threading.Timer(
                self._timeout_seconds, _cut, [connection]
            )
            watch.daemon = True
            watch.start()

    def find_row(
        self, connection: sa.Connection, user_id: str, find: sa.Executable | None = None
    ) -> Row | None:
        """Return the row of exactly this id: databases compare without case, or as numbers."""
        if not is_id(user_id):
            return None
        find = self.statements.find if find is None else find
        return _by_id(self._rows(connection, find, {"id": user_id}) or ()).get(user_id)

    def _rows(
        self, connection: sa.Connection, statement: sa.Executable, values: Mapping[str, Any]
    ) -> list[Row] | None:
        """Return the rows; None if the columns are of a type that has no such value.

        Raises:
            DirectoryUnavailableError: the statement names no column id, or none password.
        """
        try:
            found = connection.execute(statement, values).mappings()
            if not {"id", "password"} <= set(found.keys()):
                raise refuse("the rows have no column id, or none password")
            return [{name: _decoded(value) for name, value in row.items()} for row in found]
        except sa.exc.DBAPIError as error:
            if not isinstance(error, sa.exc.DataError) and _number(error) not in UNFIT:
                raise
            connection.rollback()
            return None

    def read_row(self, row: Row | None) -> User | None:
        """Return the user of a row; one with a state or kind that is none of ours is inactive."""
        if row is None or not is_id(str(row["id"])):
            return None
        values = {**self.statements.constants, **row}
        org_id = str(values.get("org") or self.org_id)
        state, kind = _state(values), str(values.get("kind") or "human")
        if kind not in list(UserKind) or not is_id(org_id):
            state, kind = UserState.INACTIVE, "human"
        counted = "\0".join((str(values["password"]), state, kind, org_id))
        return User(
            user_id=str(values["id"]),
            org_id=org_id,
            state=state,
            kind=UserKind(kind),
            user_name=str(values.get("user_name") or "")[:NAME_CHARACTERS],
            display_name=str(values.get("display_name") or "")[:NAME_CHARACTERS],
            language=_parsed(validation.language, values.get("language")) or None,
            email=_recipient(Channel.EMAIL, validation.email, values, "email"),
            phone=_recipient(Channel.SMS, validation.phone, values, "phone"),
            must_change_password=bool(values.get("change_required")),
            revision=hashlib.sha256(counted.encode()).hexdigest()[:32],
        )


def _make_engine(url: str, timeout_seconds: float) -> sa.Engine:
    try:
        parts = sa.make_url(url)
        name = parts.get_backend_name()
        parts = parts.set(drivername=DRIVERS[name])
    except (sa.exc.ArgumentError, ValueError, KeyError):
        raise SettingsError(
            "KEYTURN_DIRECTORY_URL must look like postgresql://user:password@host/database, "
            "mysql://…, mariadb://… or sqlite:////path"
        ) from None
    if name == "sqlite" and not Path(parts.database or "").is_file():
        raise SettingsError(f"KEYTURN_DIRECTORY_URL: there is no file {parts.database}")
    whole, ms = max(1, round(timeout_seconds)), max(1, round(timeout_seconds * 1000))
    arguments: dict[str, Any] = {"timeout": timeout_seconds}
    if name.startswith("postgres"):
        given = parts.query.get("options", "")
        limits = (
            f"{given} -c statement_timeout={ms} -c idle_in_transaction_session_timeout={ms * 2}"
        )
        arguments = {"connect_timeout": whole, "prepare_threshold": None, "options": limits}
    elif name != "sqlite":
        limits = (  # of MySQL alone, and of MariaDB alone
            f"SET SESSION innodb_lock_wait_timeout={whole} /*!50708 , max_execution_time={ms} */ "
            f"/*M!100101 , max_statement_time={timeout_seconds} */"
        )
        seconds = dict.fromkeys(("connect_timeout", "read_timeout", "write_timeout"), whole)
        arguments = {**seconds, "init_command": limits, "charset": "utf8mb4"}
    return sa.create_engine(
        parts, connect_args=arguments, hide_parameters=True, poolclass=sa.QueuePool,
        pool_size=CALLS_AT_ONCE, max_overflow=0, pool_timeout=timeout_seconds,
        pool_recycle=RECYCLE_SECONDS, isolation_level="AUTOCOMMIT",  # a look-up is one round trip
    )  # fmt: skip


def _socket_of(connection: Any) -> int | None:
    """Return the descriptor of a connection's socket; None for SQLite."""
    if hasattr(connection, "fileno"):  # psycopg
        return int(connection.fileno())
    at = getattr(connection, "_sock", None)  # PyMySQL
    return at.fileno() if at else None


def _cut(connection: Any) -> None:
    """End the statement under way: its time is over, whatever the server does."""
    with suppress(Exception):
        descriptor = _socket_of(connection)
        if descriptor is None:
            connection.interrupt()
            return
        with socket.socket(fileno=os.dup(descriptor)) as twin:
            twin.shutdown(socket.SHUT_RDWR)


def _number(error: Exception) -> str | int:
    """Return the SQLSTATE of PostgreSQL, or the number of MySQL."""
    cause = getattr(error, "orig", None)
    number = next(iter(getattr(cause, "args", ())), "")
    return number if isinstance(number, int) else getattr(cause, "sqlstate", None) or ""


def _decoded(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _by_id(rows: Iterable[Row]) -> dict[str, Row]:
    """Return rows by id; where an id has several, none says whose it is: the user is inactive."""
    found: dict[str, Row] = {}
    for row in rows:
        user_id = str(row["id"])
        found[user_id] = {**row, "state": "several"} if user_id in found else row
    return found


def _state(values: Row) -> UserState:
    if values.get("locked"):
        return UserState.LOCKED
    if "active" in values and not values["active"]:
        return UserState.INACTIVE
    state = str(values.get("state") or "active")
    return UserState(state) if state in list(UserState) else UserState.INACTIVE


def _parsed(parse: Callable[[str], str], value: Any) -> str:
    """Return the parsed value; empty if it is none: the application's rows are not ours to mend."""
    with suppress(ValueError):
        return parse(str(value).strip()) if value else ""
    return ""


def _recipient(
    channel: Channel, parse: Callable[[str], str], values: Row, name: str
) -> Recipient | None:
    address = _parsed(parse, values.get(name))
    is_verified = bool(values.get(f"{name}_verified"))
    return Recipient(channel, address, is_verified=is_verified) if address else None

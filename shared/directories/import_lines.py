"""One line of a file of users → what it says of one user, checked. Nothing is written here."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeAlias

from shared import particulars
from shared.models import UserKind, UserState

LINE_BYTES = 65_536
NAME_CHARACTERS = 200
PASSWORD_CHARACTERS = 200

# Field → its value as the directory stores it. Only fields that were given are there; an empty
# text says that there is none.
Facts: TypeAlias = dict[str, str]


def read_line(raw: str | bytes) -> Facts | None:
    """The facts of one line, None when it is blank.

    Raises:
        ValueError: what is wrong, without repeating an address or a password.
    """
    text = _as_text(raw)
    if not text.strip():
        return None
    facts = {name: _read_field(name, value) for name, value in _parse_object(text).items()}
    for name in ("userId", "orgId"):
        if name not in facts:
            raise ValueError(f"{name} is missing")
    return facts


def _as_text(raw: str | bytes) -> str:
    if len(raw) > LINE_BYTES:
        raise ValueError("a line has at most 64 KiB")
    try:
        return raw.decode() if isinstance(raw, bytes) else raw
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None


def _parse_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text, object_pairs_hook=_without_duplicates, parse_int=float)
    except (json.JSONDecodeError, RecursionError):
        raise ValueError("is not JSON") from None
    if not isinstance(value, dict):
        raise ValueError("must be a JSON object")  # noqa: TRY004 - the caller's data, not ours
    return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("names a field twice")
    return dict(pairs)


def _read_field(name: str, value: Any) -> str:
    reader = _READERS.get(name)
    if reader is None:
        raise ValueError(f"unknown field {_shown(name)}; known are {', '.join(_READERS)}")
    try:
        return reader(value)
    except ValueError as error:
        raise ValueError(f"{name} {error}") from None


def _shown(name: str) -> str:
    """A field's name as it may be shown: somebody may have written an address in its place."""
    return name if len(name) <= 40 and name.isidentifier() else "(not a name)"  # noqa: PLR2004


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a text")  # noqa: TRY004 - the caller's data, not ours
    if not _is_encodable(value) or "\0" in value:
        raise ValueError("holds a character that cannot be stored")
    return value


def _is_encodable(value: str) -> bool:
    return not any("\ud800" <= sign <= "\udfff" for sign in value)


def _name(value: Any) -> str:
    name = _text(value)
    if len(name) > NAME_CHARACTERS:
        raise ValueError(f"has at most {NAME_CHARACTERS} characters")
    return name


def _password(value: Any) -> str:
    password = _text(value)
    if not 1 <= len(password) <= PASSWORD_CHARACTERS:
        raise ValueError(f"has 1 to {PASSWORD_CHARACTERS} characters; leave it out to keep it")
    return password


def _flag(value: Any) -> str:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")  # noqa: TRY004 - the caller's data, not ours
    return "1" if value else ""


def _word(words: type[UserState | UserKind]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in [word.value for word in words]:
            raise ValueError(f"must be one of {', '.join(words)}")
        return str(value)

    return read


def _checked(reader: Callable[[str], str]) -> Callable[[Any], str]:
    return lambda value: reader(_text(value))


def _optional(reader: Callable[[Any], str]) -> Callable[[Any], str]:
    """`null` and the empty text both say that there is none."""
    return lambda value: "" if value is None or value == "" else reader(value)


_READERS: dict[str, Callable[[Any], str]] = {
    "userId": _checked(particulars.identity),
    "orgId": _checked(particulars.identity),
    "userName": _optional(_name),
    "displayName": _optional(_name),
    "language": _optional(_checked(particulars.language)),
    "email": _optional(_checked(particulars.email)),
    "emailVerified": _flag,
    "phone": _optional(_checked(particulars.phone)),
    "phoneVerified": _flag,
    "state": _word(UserState),
    "kind": _word(UserKind),
    "password": _password,
}

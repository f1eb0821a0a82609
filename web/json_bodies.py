"""JSON bodies read as protobuf's JSON is: both spellings, unknown fields ignored, nothing twice."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from marshmallow import EXCLUDE, Schema, ValidationError, fields, pre_load

from shared.errors import InvalidRequestError

SCHEMA = "_schema"  # marshmallow's place for what concerns no single field


class EnumValue(fields.Field[str | int]):
    """An enum as protobuf's JSON writes it: a name or whole number; which are known, others say."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str | int:
        if isinstance(value, str):
            return value
        if isinstance(value, int | float) and not isinstance(value, bool) and value == int(value):
            return int(value)
        raise ValidationError("must be the name or the number of an enum value")


class StrictBoolean(fields.Field[bool]):
    """true or false, and no word or number that could mean them."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError("must be true or false")
        return value


class WireSchema(Schema):
    """Reads lowerCamelCase and snake_case, ignores unknown fields, as protobuf's JSON does."""

    class Meta:
        """Unknown fields are ignored."""

        unknown = EXCLUDE

    @pre_load
    def _one_spelling(self, data: Any, **_: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            raise ValidationError("must be a JSON object")
        spelled: dict[str, Any] = {}
        for name, field in self.load_fields.items():
            camel = field.data_key or name
            values = [data[spelling] for spelling in {name, camel} if spelling in data]
            if len(values) > 1:
                raise ValidationError(f"{camel} stands there twice")
            if values:
                spelled[camel] = values[0]
        return spelled


def check_oneof(data: Mapping[str, Any], *names: str) -> None:
    """Nothing, when at most one of the names has a value.

    Raises:
        ValidationError: more have.
    """
    if sum(data.get(name) is not None for name in names) > 1:
        raise ValidationError(f"only one of {' and '.join(map(_camel, names))} may be given")


def read_body(body: bytes, schema: WireSchema) -> dict[str, Any]:
    """The body as the schema knows it; an empty one is an empty object.

    Raises:
        InvalidRequestError: it is not one JSON object of this shape.
    """
    try:
        text = body.decode("utf-8")
        data = json.loads(
            text, object_pairs_hook=_sound_object, parse_constant=_no_constants
        ) if text.strip(" \t\r\n") else {}  # fmt: skip
        if not isinstance(data, dict):
            raise InvalidRequestError("the body must be one JSON object")
        loaded: dict[str, Any] = schema.load(data)
    except (ValidationError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidRequestError(_explain(error)) from error
    return loaded


def _explain(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(_sentences(error.messages_dict))
    if isinstance(error, _DuplicateKeyError):
        return "the body names one field twice"
    return "the body is not valid JSON"


def _sentences(messages: Mapping[str, Any], place: str = "") -> Iterator[str]:
    for name, found in messages.items():
        here = place if name == SCHEMA else f"{place}.{name}".lstrip(".")
        if isinstance(found, Mapping):
            yield from _sentences(found, here)
        else:
            yield f"{here}: {' '.join(found)}".removeprefix(": ")


class _DuplicateKeyError(ValueError):
    """A JSON object has the same key twice."""


def _sound_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object without a name twice, whose texts are Unicode: half a surrogate pair is none."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _DuplicateKeyError
    for value in found.values():
        if isinstance(value, str):
            value.encode()
    return found


def _no_constants(_: str) -> NoReturn:
    raise ValueError


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)

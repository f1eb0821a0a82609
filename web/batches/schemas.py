"""What the calls about batches read: bodies, and the query of an upload."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson
from marshmallow import ValidationError, fields, validates_schema
from marshmallow.validate import Length

from shared import validation
from shared.errors import SelectionError
from shared.models import Channel, Status
from shared.settings import EMAIL_PROVIDERS, RENAMED_PROVIDERS, SMS_PROVIDERS
from shared.store.batches.lists import ListEntry
from shared.store.history import HistoryFilter
from shared.validation import parse_timestamp
from web.admin.actions import MAX_REASON_CHARACTERS
from web.schemas import EnumValue, StrictBoolean, WireSchema, check_oneof, read_body

STATUSES = (Status.FAILED, Status.EXPIRED, Status.UNDELIVERED, Status.UNKNOWN)
# Records may still hold a former name.
PROVIDERS = tuple(dict.fromkeys((*EMAIL_PROVIDERS, *SMS_PROVIDERS, *RENAMED_PROVIDERS)))


class RateField(fields.Field[float]):
    """A number of resets per second; 0: as fast as possible."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value) or value < 0:
            raise ValidationError("must be a number, 0 or more; 0 means no pace")
        return float(value)


class TimestampField(fields.Field[datetime]):
    """RFC 3339, with its zone."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> datetime:
        try:
            return parse_timestamp(str(value))
        except ValueError as error:
            raise ValidationError(str(error)) from error


class WordField(fields.Field[str]):
    """One of some words."""

    def __init__(self, *known: str, **facts: Any) -> None:
        """`known` are named in the error."""
        super().__init__(**facts)
        self.known = known

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        if not isinstance(value, str) or value not in self.known:
            raise ValidationError(f"must be one of {', '.join(self.known)}")
        return value


class WordsField(WordField):
    """One of some words, or a list of them."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Any:
        read = super()._deserialize
        return [read(each) for each in value] if isinstance(value, list) else [read(value)]


class SelectSchema(WireSchema):
    """Which past resets a batch sends again."""

    org_id = fields.String(data_key="orgId", allow_none=True)
    since = TimestampField(allow_none=True)
    until = TimestampField(allow_none=True)
    channel = WordField(*Channel, allow_none=True)
    provider = WordField(*PROVIDERS, allow_none=True)
    status = WordsField(*(each.value for each in STATUSES), allow_none=True)


class OptionsSchema(WireSchema):
    """How a batch is sent."""

    type = EnumValue(allow_none=True)
    dry_run = StrictBoolean(data_key="dryRun", allow_none=True)
    rate_per_second = RateField(data_key="ratePerSecond", allow_none=True)
    reason = fields.String(allow_none=True, validate=Length(max=MAX_REASON_CHARACTERS))


class BatchSchema(OptionsSchema):
    """A batch by a list, by a filter, or by its plan."""

    user_ids = fields.List(fields.String(), data_key="userIds", allow_none=True)
    select = fields.Nested(SelectSchema, allow_none=True)
    plan_id = fields.String(data_key="planId", allow_none=True)

    @validates_schema
    def _one_selection(self, data: Mapping[str, Any], **_: Any) -> None:
        check_oneof(data, "user_ids", "select")
        check_oneof(data, "user_ids", "plan_id")
        check_oneof(data, "select", "plan_id")
        if not any(data.get(name) is not None for name in ("user_ids", "select", "plan_id")):
            raise ValidationError("give userIds, select or planId")


class BatchReasonSchema(WireSchema):
    """Why a batch is paused, resumed or cancelled."""

    reason = fields.String(allow_none=True, validate=Length(max=MAX_REASON_CHARACTERS))


BATCH = BatchSchema()
OPTIONS = OptionsSchema()
BATCH_REASON = BatchReasonSchema()


def read_filter(found: Mapping[str, Any]) -> HistoryFilter:
    """Return the filter of a select.

    Raises:
        SelectionError: its window ends before it begins.
    """
    since, until = found.get("since"), found.get("until")
    if since and until and until < since:
        raise SelectionError("the selection is empty: select.until lies before select.since")
    channel = found.get("channel")
    return HistoryFilter(
        org_id=found.get("org_id"),
        since=since,
        until=until,
        channel=Channel(channel) if channel else None,
        provider=found.get("provider"),
        statuses=frozenset(map(Status, found.get("status") or STATUSES)),
    )


def read_user_ids(user_ids: list[str]) -> list[ListEntry]:
    """Return the users of a list.

    Raises:
        SelectionError: one of them cannot be a user's id.
    """
    entries = []
    for index, user_id in enumerate(user_ids):
        try:
            entries.append(ListEntry(validation.identity(user_id)))
        except ValueError as error:
            raise SelectionError(f"userIds[{index}] {error}") from None
    return entries


def read_options(query: Mapping[str, str]) -> dict[str, Any]:
    """Return the options of an upload, as a body would hold them.

    Raises:
        InvalidRequestError: one of them is malformed.
    """
    options: dict[str, Any] = dict(query)
    for name in {"dryRun", "dry_run"} & options.keys():
        options[name] = {"true": True, "false": False}.get(options[name], options[name])
    for name in {"ratePerSecond", "rate_per_second"} & options.keys():
        options[name] = _number(options[name])
    return read_body(orjson.dumps(options), OPTIONS)


def _number(text: str) -> float | str:
    """Return the number; a text that is none stays as it is, for the schema to refuse."""
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text

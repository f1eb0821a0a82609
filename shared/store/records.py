"""A reset as Redis keeps it: short field names in, a Reset out, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from shared.models import Attempt, Channel, DeliveryEvent, Kind, Outcome, Queue, Reset, Status

# Optional facts a record may begin with: Reset's name → the record's.
OPTIONAL_FIELDS = {"request_id": "rq", "url_template": "tp", "batch_id": "b", "trace": "tr"}

_EPOCH = datetime.fromtimestamp(0, tz=UTC)
# Asking an enum for a member by its value takes four times as long.
_KINDS = {each.value: each for each in Kind}
_CHANNELS = {each.value: each for each in Channel}
_QUEUES = {each.value: each for each in Queue}
_STATUSES = {each.value: each for each in Status}


def moment(ms: str | float) -> datetime:
    """A moment from the milliseconds Redis counted."""
    return datetime.fromtimestamp(float(ms) / 1000, tz=UTC)


def moment_from_us(us: str | int) -> datetime:
    """A moment from the microseconds Redis counted, exactly."""
    return _EPOCH + timedelta(0, 0, int(us))


def parse_reset(reset_id: str, h: Mapping[str, str]) -> Reset:
    """The reset of a record."""
    return Reset(
        reset_id=reset_id,
        kind=_KINDS[h["k"]],
        user_id=h["u"],
        org_id=h["o"],
        channel=_CHANNELS[h["ch"]],
        queue=_QUEUES[h["q"]],
        status=_STATUSES[h["st"]],
        reason=h.get("rs") or None,
        language=h["lg"],
        key_id=h["kid"],
        sequence=int(h["sq"]),
        created_at=moment_from_us(h["c"]),
        deadline_at=moment(h["x"]),
        request_id=h.get("rq"),
        url_template=h.get("tp"),
        batch_id=h.get("b"),
        trace=h.get("tr"),
        recipient_digest=h.get("to"),
        next_look_at=_moment_or_none(h.get("n")),
        opened_at=_moment_or_none(h.get("op")),
        completed_at=_moment_or_none(h.get("co")),
        is_superseded="su" in h,
        is_held="hd" in h,
        attempts=tuple(_attempts(h)) if h.get("at", "0") != "0" else (),
        events=tuple(_events(h)) if "en" in h else (),
    )


def _moment_or_none(ms: str | None) -> datetime | None:
    return moment(ms) if ms else None


def _attempts(h: Mapping[str, str]) -> Iterator[Attempt]:
    for number in range(1, int(h.get("at", "0")) + 1):
        provider, started, *rest = orjson.loads(h[f"a{number}"])
        finished, outcome, message_id, detail = rest or (None, None, None, None)
        yield Attempt(
            number=number,
            provider=provider,
            started_at=moment(started),
            finished_at=moment(finished) if finished else None,
            outcome=Outcome(outcome) if outcome else None,
            provider_message_id=message_id or None,
            detail=detail or None,
        )


def _events(h: Mapping[str, str]) -> Iterator[DeliveryEvent]:
    for number in range(1, int(h.get("en", "0")) + 1):
        at, kind, provider, detail = orjson.loads(h[f"e{number}"])
        yield DeliveryEvent(moment(at), kind, provider or None, detail or None)


def first_event(event: DeliveryEvent) -> dict[str, str]:
    """Return the fields of a record whose timeline begins with an event."""
    at_ms = str(round(event.at.timestamp() * 1000))
    facts = (at_ms, event.type, event.provider or "", event.detail or "")
    return {"en": "1", "e1": orjson.dumps(facts).decode()}


def pairs(flat: list[Any]) -> dict[str, str]:
    """A mapping from field, value, field, value …."""
    return dict(zip(flat[::2], flat[1::2], strict=True))

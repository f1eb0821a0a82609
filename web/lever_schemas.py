"""The bodies and answers of the operator's calls."""

from __future__ import annotations

from typing import Any

from marshmallow import ValidationError, fields
from marshmallow.validate import Length, OneOf

from shared.store.audit import Entry
from shared.store.pauses import Pause, Release, Scope
from web.json_bodies import EnumValue, WireSchema
from web.levers import LIMITS, MOST_REASON_CHARACTERS
from web.schemas import spell

MOST_NAME_CHARACTERS = 200
MOST_PER_SECOND = 1_000_000


class Rate(fields.Field[float]):
    """So many a second."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not 0 <= value <= MOST_PER_SECOND:
            raise ValidationError(f"must be a number from 0 to {MOST_PER_SECOND}")
        return float(value)


def a_reason(*, required: bool = True) -> fields.String:
    """Why a lever is pulled."""
    return fields.String(
        required=required, allow_none=not required, validate=Length(max=MOST_REASON_CHARACTERS)
    )


class ReasonSchema(WireSchema):
    """Why, and nothing else."""

    reason = a_reason()


class PauseSchema(ReasonSchema):
    """What is paused."""

    scope = fields.String(required=True, validate=OneOf([each.value for each in Scope]))
    name = fields.String(required=True, validate=Length(1, MOST_NAME_CHARACTERS))


class ResumeSchema(PauseSchema):
    """What is resumed, and how fast; 0 and nothing: at once."""

    rate_per_second = Rate(data_key="ratePerSecond", allow_none=True)


class ClearLimitSchema(ReasonSchema):
    """Which limit, and whose."""

    limit = fields.String(required=True, validate=OneOf(LIMITS))
    id = fields.String(allow_none=True, validate=Length(max=MOST_NAME_CHARACTERS))


class ResendSchema(WireSchema):
    """On which channel; nothing: the same as before."""

    type = EnumValue(allow_none=True)
    reason = a_reason(required=False)


REASON = ReasonSchema()
PAUSE = PauseSchema()
RESUME = ResumeSchema()
CLEAR_LIMIT = ClearLimitSchema()
RESEND = ResendSchema()


def write_pause(pause: Pause) -> dict[str, Any]:
    """A pause in force."""
    return {
        "scope": pause.scope.value,
        "name": pause.name,
        "by": pause.by,
        "reason": pause.reason,
        "since": spell(pause.since),
    }


def write_release(release: Release) -> dict[str, Any]:
    """What is being let go."""
    return {
        "scope": release.scope.value,
        "name": release.name,
        "by": release.by,
        "reason": release.reason,
        "since": spell(release.since),
        "ratePerSecond": release.per_second,
        "moved": release.moved,
        "tooLate": release.too_late,
    }


def write_entry(entry: Entry) -> dict[str, Any]:
    """A line of the audit trail."""
    return {
        "at": spell(entry.at),
        "by": entry.act.by,
        "action": entry.act.action,
        "target": entry.act.target,
        "reason": entry.act.reason,
    }

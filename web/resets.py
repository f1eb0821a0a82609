"""The use case of asking for a reset (v1): faces call it and hold no rule of their own."""

from __future__ import annotations

from dataclasses import dataclass, field

from shared.errors import CallerError, InvalidRequestError, UserUnknownError
from shared.models import Channel
from shared.policies import check_may_reset
from shared.store.resets import Recorded
from web.house import House
from web.once import record_once
from web.recording import Order, record_reset
from web.refusing import Asking, remembered

MAX_USER_ID_CHARACTERS = 200
CHANNELS_BY_NAME = {"TYPE_EMAIL": Channel.EMAIL, "TYPE_SMS": Channel.SMS}
CHANNELS_BY_NUMBER = {0: Channel.EMAIL, 1: Channel.SMS}


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who asks, as the wire said it."""

    authorization: str | None = field(repr=False)
    org_id: str | None


@dataclass(frozen=True, slots=True)
class WantedReset:
    """What is asked for, decoded but not yet judged."""

    user_id: str
    type: str | int | None = None  # the enum's name or number
    idempotency_key: str | None = None
    request_id: str | None = None


def request_reset(house: House, credentials: Credentials, wanted: WantedReset) -> Recorded:
    """Record a reset for a user of the organisation in force, and hint a worker at it.

    Raises:
        CallerError: whatever SPEC's order of checks meets first; nothing was recorded then.
    """
    return house.auth.with_present_rights(lambda: _request_reset(house, credentials, wanted))


def _request_reset(house: House, credentials: Credentials, wanted: WantedReset) -> Recorded:
    caller = house.auth.authenticate(credentials.authorization)
    organisation = house.auth.organisation_in_force(caller, credentials.org_id)
    house.auth.require(caller, organisation.org_id, "user.write")
    channel = read_channel(wanted.type)
    check_user_id(wanted.user_id)

    def record(reset_id: str) -> Recorded:
        found = house.directory.find_user(wanted.user_id)
        order = Order(
            user=check_may_reset(found, organisation.org_id),
            organisation=organisation,
            channel=channel,
            reset_id=reset_id,
            caller=caller,
            request_id=wanted.request_id,
            is_repeatable=wanted.idempotency_key is not None,
        )
        return record_reset(house, order)

    asked = Asking(wanted.user_id, channel, wanted.request_id, caller)
    with remembered(house, asked):
        return record_once(
            house,
            caller,
            wanted.idempotency_key,
            user_id=wanted.user_id,
            meaning=("v1", organisation.org_id, channel),
            record=record,
        )


def read_channel(value: str | int | None) -> Channel:
    """The channel of v1's `type`; nothing means e-mail.

    Raises:
        InvalidRequestError: it names none.
    """
    if value is None:
        return Channel.EMAIL
    known = CHANNELS_BY_NAME.get(value) if isinstance(value, str) else CHANNELS_BY_NUMBER.get(value)
    if known is None:
        raise InvalidRequestError("type must be TYPE_EMAIL (0) or TYPE_SMS (1)")
    return known


def check_user_id(user_id: str, *, unknown: type[CallerError] = UserUnknownError) -> None:
    """Whether this can be a user's id.

    Raises:
        InvalidRequestError: empty or too long. `unknown`: nobody can have it.
    """
    check_id_length(user_id)
    if not user_id.isprintable():
        raise unknown


def check_id_length(user_id: str) -> None:
    """Whether a user's id can be this long.

    Raises:
        InvalidRequestError: it cannot.
    """
    if not 1 <= len(user_id) <= MAX_USER_ID_CHARACTERS:
        raise InvalidRequestError("userId must have 1 to 200 characters")

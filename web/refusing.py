"""Refusals of a user's requests are remembered, so that "nothing came" can be explained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from shared import errors
from shared.models import Caller, Channel
from shared.store.refusals import NewRefusal
from web.house import House

log = structlog.get_logger()

# Only what is met after the user was found: ids that nobody has must fill no memory.
NOTED = (
    errors.TooManyRequestsError,
    errors.RecipientMissingError,
    errors.CountryNotAllowedError,
    errors.RecipientSuppressedError,
    errors.ProviderMissingError,
    errors.UserInactiveError,
    errors.UserNotInitialisedError,
    errors.ResetUserNotInitialisedError,
    errors.MachineUserError,
    errors.UrlNotAllowedError,
)


@dataclass(frozen=True, slots=True)
class Asking:
    """For whom, on which channel, under which request id, and by whom it is asked."""

    user_id: str
    channel: Channel
    request_id: str | None = None
    caller: Caller | None = None


@contextmanager
def remembered(house: House, asked: Asking) -> Iterator[None]:
    """Whatever refuses the request inside is noted for the user, and raised on."""
    try:
        yield
    except NOTED as error:
        limited = error if isinstance(error, errors.TooManyRequestsError) else None
        refusal = NewRefusal(
            word=type(error).__name__.removesuffix("Error"),
            channel=asked.channel,
            limit=limited.limit if limited else "",
            wait_seconds=limited.retry_after_seconds if limited else 0,
            request_id=asked.request_id or "",
            caller_id=asked.caller.token_id if asked.caller else "",
        )
        try:
            house.refusals.note(asked.user_id, refusal)
        except errors.StoreUnavailableError:
            log.warning("store.unavailable", during="refusing")
        raise

"""Idempotency-Key: the same caller, user and meaning under one key give the same reset."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from shared.errors import InvalidRequestError, StoreUnavailableError
from shared.models import Caller
from shared.store.idempotency import KeyedRequest
from shared.store.resets import Recorded
from web.services import WebServices

log = structlog.get_logger()

MAX_KEY_CHARACTERS = 255


@dataclass(frozen=True, slots=True)
class Slot:
    """The id of the one reset that a request may record, or what an earlier call recorded."""

    reset_id: str
    known: Recorded | None = None
    digest: str | None = None  # of the key, if there is one


@contextmanager
def idempotent(
    services: WebServices,
    caller: Caller,
    key: str | None,
    *,
    user_id: str,
    meaning: tuple[str, ...],
) -> Iterator[Slot]:
    """Give the slot of a request; without a key, a new one.

    The body records a reset under `slot.reset_id` unless `slot.known` has it. When it raises, the
    key is free again.

    Raises:
        InvalidRequestError: the key is not 1 to 255 visible ASCII characters.
        IdempotencyMismatchError: the key stands for another request.
    """
    if key is None:
        yield Slot(services.digests.new_reset_id(user_id))
        return
    check_key(key)
    request = KeyedRequest(caller.token_id, key, "\0".join((*meaning, user_id)))
    if (known := _find_recorded(services, request, user_id)) is not None:
        yield known
        return
    since = services.idempotency.begin(request)
    try:
        digest = services.idempotency.digest(request)
        yield Slot(_reset_id(services, request, user_id, since), digest=digest)
    except StoreUnavailableError:
        raise  # it may have been recorded: the next call with this key finds out
    except Exception:
        services.idempotency.give_up(request, since)
        raise


def check_key(key: str) -> None:
    """Raise InvalidRequestError unless this can be an Idempotency-Key."""
    is_visible_ascii = all("!" <= sign <= "~" for sign in key)
    if not 1 <= len(key) <= MAX_KEY_CHARACTERS or not is_visible_ascii:
        raise InvalidRequestError("Idempotency-Key must have 1 to 255 visible ASCII characters")


def _find_recorded(services: WebServices, request: KeyedRequest, user_id: str) -> Slot | None:
    since = services.idempotency.find(request)
    reset = services.resets.find(_reset_id(services, request, user_id, since)) if since else None
    if reset is None:
        return None
    services.resets.confirm(reset.reset_id)  # an earlier call may have recorded it unconfirmed
    log.info("reset.repeated", reset_id=reset.reset_id, caller_id=request.caller_id)
    recorded = Recorded(
        reset.reset_id,
        reset.created_at,
        reset.deadline_at,
        reset.sequence,
        reset.org_id,
        is_new=False,
    )
    return Slot(reset.reset_id, recorded)


def _reset_id(services: WebServices, request: KeyedRequest, user_id: str, since: str) -> str:
    """Return the id that every call with this key and meaning derives."""
    parts = (request.caller_id, request.key, request.meaning, since)
    return services.digests.derived_reset_id(user_id, *parts)

"""Idempotency-Key: the same call, user and meaning under one key are one reset."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from shared.errors import InvalidRequestError, StoreUnavailableError
from shared.models import Caller, Reset
from shared.store.idempotency import KeyedRequest
from shared.store.resets import Recorded
from web.services import WebServices

log = structlog.get_logger()

MAX_KEY_CHARACTERS = 255


def record_once(
    services: WebServices,
    caller: Caller,
    key: str | None,
    *,
    user_id: str,
    meaning: tuple[str, ...],
    record: Callable[[str], Recorded],
) -> Recorded:
    """What `record(reset_id)` gives, or gave when this key was first used for this meaning.

    Answers that recorded nothing are not kept.

    Raises:
        InvalidRequestError: that is no key.
        IdempotencyMismatchError: the key stands for another request.
    """
    if key is None:
        return record(services.digests.new_reset_id(user_id))
    check_key(key)
    request = KeyedRequest(caller.token_id, key, "\0".join((*meaning, user_id)))
    if (known := _find_recorded(services, request, user_id)) is not None:
        services.resets.confirm(
            known.reset_id
        )  # it may have been recorded, and not confirmed, before
        log.info("reset.repeated", reset_id=known.reset_id, caller_id=caller.token_id)
        return _as_recorded(known)
    since = services.idempotency.begin(request)
    try:
        return record(_reset_id(services, request, user_id, since))
    except StoreUnavailableError:
        raise  # perhaps it was recorded: whoever asks again under this key finds out
    except Exception:
        services.idempotency.give_up(request, since)
        raise


def _find_recorded(services: WebServices, request: KeyedRequest, user_id: str) -> Reset | None:
    since = services.idempotency.find(request)
    return services.resets.find(_reset_id(services, request, user_id, since)) if since else None


def _reset_id(services: WebServices, request: KeyedRequest, user_id: str, since: str) -> str:
    """The id that all get who ask for the same under one key."""
    parts = (request.caller_id, request.key, request.meaning, since)
    return services.digests.derived_reset_id(user_id, *parts)


def check_key(key: str) -> None:
    """Whether this can be an Idempotency-Key.

    Raises:
        InvalidRequestError: it cannot.
    """
    is_visible_ascii = all("!" <= sign <= "~" for sign in key)
    if not 1 <= len(key) <= MAX_KEY_CHARACTERS or not is_visible_ascii:
        raise InvalidRequestError("Idempotency-Key must have 1 to 255 visible ASCII characters")


def _as_recorded(reset: Reset) -> Recorded:
    return Recorded(
        reset.reset_id,
        reset.created_at,
        reset.deadline_at,
        reset.sequence,
        reset.org_id,
        is_new=False,
    )

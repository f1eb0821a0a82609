"""The use case of reading a reset and explaining it: who may, and what they see."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.errors import (
    CallerError,
    InvalidRequestError,
    ProviderMissingError,
    RecipientSuppressedError,
)
from shared.models import Caller, Channel, Kind, Reset, Status, User
from shared.policies import check_country, check_may_reset, check_recipient
from shared.store.history import HistoryCursor, HistoryEntry, HistoryFilter
from shared.store.keys import SHARDS
from shared.store.suppressions import Suppression
from shared.validation import parse_timestamp
from web.auth import USER_READ, Credentials
from web.callbacks import is_heard
from web.explain.diagnosis import diagnose
from web.explain.model import Evidence, Explanation
from web.explain.timeline import build_timeline
from web.resets import check_user_id
from web.services import WebServices


def find_reset_for(
    services: WebServices, credentials: Credentials, reset_id: str
) -> tuple[Reset, str | None]:
    """The reset and its masked recipient, for a caller with `user.read` in its organisation.

    Raises:
        NotFoundError: no such reset, or not theirs to see.
    """
    caller = services.auth.authenticate(credentials)
    reset = services.auth.authorize_reset(caller, services.resets.find(reset_id), USER_READ)
    return reset, masked_recipient(services, reset)


def masked_recipient(services: WebServices, reset: Reset) -> str | None:
    """The address written to, masked; None when the user has another one by now."""
    user = services.directory.find_user(reset.user_id)
    recipient = user.recipient(reset.channel) if user else None
    if recipient is None:
        return None
    is_same = reset.recipient_digest in (None, services.suppressions.digest(recipient))
    return recipient.masked if is_same else None


def explain_reset(services: WebServices, reset: Reset) -> Explanation:
    """Why this reset stands as it does; later refusals of its user play no part."""
    return _explain(services, reset.user_id, (reset,), with_refusals=False)


def explain_user(services: WebServices, user_id: str) -> Explanation:
    """Why a user got, or did not get, a message: judged by the newest thing that happened."""
    return _explain(services, user_id, services.resets.find_of_user(user_id), with_refusals=True)


def _explain(
    services: WebServices, user_id: str, resets: Sequence[Reset], *, with_refusals: bool
) -> Explanation:
    user = services.directory.find_user(user_id)
    reset = next((each for each in resets if each.kind is not Kind.NOTICE), None)
    refusals = tuple(services.refusals.find_of_user(user_id)) if with_refusals else ()
    channel = reset.channel if reset else Channel.EMAIL
    if refusals and (reset is None or refusals[0].at > reset.created_at):
        channel = refusals[0].channel or channel
    own = user.recipient(channel) if user else None
    recipient = own.masked if own else None
    if reset and channel is reset.channel:
        recipient = masked_recipient(services, reset)
    facts = Evidence(
        now=services.dues.now(),
        user_id=user_id,
        org_id=user.org_id if user else "",
        reset=reset,
        recipient=recipient,
        suppression=_find_suppression(services, user, channel),
        refusals=refusals,
        obstacle=_find_obstacle(services, user, channel),
        pauses=tuple(services.pauses.all()),
        providers=services.provider_names[channel],
        workers=len(services.dues.workers_seen(reset.queue)) if reset else 0,
        is_heard=bool(
            reset and reset.attempts and is_heard(services.settings, reset.attempts[-1].provider)
        ),
    )
    told = tuple((each, masked_recipient(services, each)) for each in resets)
    return Explanation(user_id, diagnose(facts), build_timeline(facts), told)


def _find_suppression(
    services: WebServices, user: User | None, channel: Channel
) -> Suppression | None:
    recipient = user.recipient(channel) if user else None
    return services.suppressions.find(recipient) if recipient else None


def _find_obstacle(services: WebServices, user: User | None, channel: Channel) -> str | None:
    """The name of the error that would refuse a request now, limits apart."""
    try:
        _check_now(services, user, channel)
    except CallerError as error:
        return type(error).__name__.removesuffix("Error")
    return None


def _check_now(services: WebServices, user: User | None, channel: Channel) -> None:
    found = check_may_reset(user, None)
    recipient = check_recipient(found, channel, allow_unverified=services.settings.allow_unverified)
    check_country(recipient, services.sms_regions)
    if services.suppressions.find(recipient):
        raise RecipientSuppressedError
    if not services.provider_names[channel]:
        raise ProviderMissingError


MAX_ON_A_PAGE = 100
PLACE_PATTERN = r"[0-9]{1,9}-[0-9]{1,2}-[0-9]{1,9}"
_TOKEN = re.compile(PLACE_PATTERN)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRequest:
    """Which resets, and from where on."""

    user_id: str | None = None
    status: Status | None = None
    since: datetime | None = None
    limit: int = 50
    token: tuple[int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Resets, newest first, each with its masked recipient; `token` where there may be more."""

    resets: tuple[tuple[Reset, str | None], ...]
    token: str | None


def list_resets(services: WebServices, credentials: Credentials, wanted: PageRequest) -> Page:
    """A page of the resets in organisations where the caller has `user.read`.

    Raises:
        UnauthenticatedError, OrganisationUnknownError, MembershipMissingError.
    """
    caller, org_id = services.auth.authenticate(credentials), credentials.org_id
    if wanted.user_id is not None:
        check_user_id(wanted.user_id)
        found, token = _of_user(services, caller, wanted.user_id, org_id, wanted)
    else:
        found, token = _of_all(services, caller, org_id, wanted)
    return Page(tuple((reset, masked_recipient(services, reset)) for reset in found), token)


def _of_user(
    services: WebServices, caller: Caller, user_id: str, org_id: str | None, wanted: PageRequest
) -> tuple[list[Reset], str | None]:
    """By the user's sequence, which a later reset does not change."""
    before = wanted.token[2] if wanted.token else None
    found = [
        reset
        for reset in services.resets.find_of_user(user_id)
        if org_id in (None, reset.org_id)
        and services.auth.may(caller, reset.org_id, USER_READ)
        and wanted.status in (None, reset.status)
        and (wanted.since is None or reset.created_at >= wanted.since)
        and (before is None or reset.sequence < before)
    ]
    page = found[: wanted.limit]
    return page, f"0-0-{page[-1].sequence}" if len(found) > len(page) else None


def _of_all(
    services: WebServices, caller: Caller, org_id: str | None, wanted: PageRequest
) -> tuple[list[Reset], str | None]:
    def may_see(line: HistoryEntry) -> bool:
        return services.auth.may(caller, line.org_id, USER_READ)

    which = HistoryFilter(
        org_id=org_id,
        since=wanted.since,
        statuses=frozenset({wanted.status} if wanted.status else ()),
    )
    place = _place(wanted.token) if wanted.token else None
    lines, after = services.history.page(which, place, most=wanted.limit, may_see=may_see)
    found = [reset for line in lines if (reset := services.resets.find(line.reset_id))]
    return found, _format(after) if after else None


def _format(place: HistoryCursor) -> str:
    """One more than the end; 0 where a list is not begun yet, and is read from its end then."""
    return f"{place.bucket}-{place.shard}-{0 if place.end is None else place.end + 1}"


def _place(token: tuple[int, int, int]) -> HistoryCursor:
    bucket, shard, end = token
    return HistoryCursor(bucket, min(shard, SHARDS - 1), end - 1 if end else None)


def check_names(names: Collection[str], *known: str) -> None:
    """Nothing, when a query has these names only: a filter misspelled would show too much.

    Raises:
        InvalidRequestError: it has another.
    """
    if not set(names) <= set(known):
        raise InvalidRequestError(f"the query may name {', '.join(known)}")


def read_page(query: Mapping[str, str]) -> PageRequest:
    """What the query asks for.

    Raises:
        InvalidRequestError: it cannot be understood.
    """
    check_names(query.keys(), "userId", "status", "since", "limit", "pageToken")
    return PageRequest(
        user_id=query.get("userId"),
        status=_read_status(query.get("status")),
        since=_read_since(query.get("since")),
        limit=read_count(query.get("limit"), "limit", default=50, most=MAX_ON_A_PAGE),
        token=_read_token(query.get("pageToken")),
    )


def read_count(text: str | None, name: str, *, default: int, most: int) -> int:
    """A whole number of a query.

    Raises:
        InvalidRequestError: it is none, or out of range.
    """
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= most:
        raise InvalidRequestError(f"{name} must be a whole number from 1 to {most}")
    return int(text)


def _read_status(text: str | None) -> Status | None:
    try:
        return Status(text) if text is not None else None
    except ValueError as error:
        raise InvalidRequestError(f"status must be one of {', '.join(Status)}") from error


def _read_since(text: str | None) -> datetime | None:
    try:
        return parse_timestamp(text) if text is not None else None
    except ValueError as error:
        raise InvalidRequestError(f"since {error}") from error


def _read_token(text: str | None) -> tuple[int, int, int] | None:
    if text is None:
        return None
    if not _TOKEN.fullmatch(text):
        raise InvalidRequestError("pageToken must be a nextPageToken of before")
    bucket, shard, end = map(int, text.split("-"))
    return bucket, shard, end

"""Read, list and explain resets, for the API and the command line."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from shared.errors import CallerError, InvalidRequestError
from shared.models import Channel, Kind, Organisation, Reset, Status, User
from shared.policies import (
    check_country,
    check_line,
    check_may_reset,
    check_recipient,
    provider_names,
    sms_regions,
)
from shared.providers.callbacks import has_callbacks
from shared.store.admin.refusals import Refusal
from shared.store.history import HistoryCursor, HistoryEntry, HistoryFilter
from shared.store.keys import SHARDS
from shared.store.suppressions import Suppression
from shared.validation import parse_timestamp
from web.auth import USER_READ, Credentials
from web.explain.diagnosis import diagnose
from web.explain.model import Evidence, Explanation
from web.explain.timeline import build_timeline, name_caller
from web.resets import check_id_length
from web.services import WebServices

MAX_ON_A_PAGE = 100
CURSOR_PATTERN = r"[0-9]{1,9}-[0-9]{1,2}-[0-9]{1,9}"
_CURSOR = re.compile(CURSOR_PATTERN)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRequest:
    """Which resets to list, and after which page."""

    user_id: str | None = None
    status: Status | None = None
    since: datetime | None = None
    limit: int = 50
    token: tuple[int, int, int] | None = None
    until: datetime | None = None
    provider: str | None = None  # of the last attempt
    request_id: str | None = None
    most_scanned: int | None = None  # lines of history


@dataclass(frozen=True, slots=True)
class Page:
    """Resets, newest first, each with its masked recipient; `token` if there may be more."""

    resets: tuple[tuple[Reset, str | None], ...]
    token: str | None


def find_reset_for(
    services: WebServices, credentials: Credentials, reset_id: str
) -> tuple[Reset, str | None]:
    """Return the reset and its masked recipient to a caller with `user.read` in its organisation.

    Raises:
        NotFoundError: there is no such reset, or the caller may not see it.
    """
    caller = services.auth.authenticate(credentials)
    reset = services.auth.authorize_reset(caller, services.resets.find(reset_id), USER_READ)
    return reset, masked_recipient(services, reset)


def masked_recipient(services: WebServices, reset: Reset) -> str | None:
    """Return the address the reset went to, masked; None if the user has another one now."""
    user = services.directory.find_user(reset.user_id)
    recipient = user.recipient(reset.channel) if user else None
    if recipient is None:
        return None
    is_same = reset.recipient_digest in (None, services.suppressions.digest(recipient))
    return recipient.masked if is_same else None


def explain_reset(services: WebServices, reset: Reset) -> Explanation:
    """Return why this reset has its status, without its user's later refusals."""
    return _explain(services, reset.user_id, (reset,), refusals=())


def explain_user(services: WebServices, user_id: str) -> Explanation:
    """Return why a user got, or did not get, a message, by the newest thing that happened."""
    refusals = tuple(services.refusals.find_of_user(user_id))
    return _explain(services, user_id, services.resets.find_of_user(user_id), refusals=refusals)


def _explain(
    services: WebServices, user_id: str, resets: Sequence[Reset], *, refusals: tuple[Refusal, ...]
) -> Explanation:
    user = services.directory.find_user(user_id)
    reset = next((each for each in resets if each.kind is not Kind.NOTICE), None)
    channel = reset.channel if reset else Channel.EMAIL
    if refusals and (reset is None or refusals[0].at > reset.created_at):
        channel = refusals[0].channel or channel
    own = user.recipient(channel) if user else None
    recipient = own.masked if own else None
    if reset and channel is reset.channel:
        recipient = masked_recipient(services, reset)
    suppression = services.suppressions.find(own) if own else None
    last = reset.attempts[-1] if reset and reset.attempts else None
    organisation = services.callers.find_organisation(user.org_id) if user else None
    evidence = Evidence(
        now=services.dues.now(),
        user_id=user_id,
        org_id=user.org_id if user else "",
        reset=reset,
        recipient=recipient,
        suppression=suppression,
        code_change=(
            services.digests.what_changed(reset.basis, user, reset.channel)
            if reset and user
            else ""
        ),
        refusals=refusals,
        obstacle=_find_obstacle(services, user, organisation, channel, suppression),
        pauses=tuple(services.pauses.all()),
        providers=provider_names(organisation, channel, services.provider_names[channel]),
        workers=len(services.dues.workers_seen(reset.queue)) if reset else 0,
        guesses=tuple(services.code_store.list_guesses(user_id)),
        is_void=any(
            reset and each.reset_id == reset.reset_id and each.is_live and not each.may_be_typed
            for each in services.code_store.list_known(user_id)
        ),
        has_callbacks=last is not None and has_callbacks(services.settings, last.provider),
    )
    masked = tuple((each, masked_recipient(services, each)) for each in resets)
    caller = name_caller(reset) if reset else None
    return Explanation(user_id, diagnose(evidence), build_timeline(evidence), masked, caller)


def _find_obstacle(
    services: WebServices,
    user: User | None,
    organisation: Organisation | None,
    channel: Channel,
    suppression: Suppression | None,
) -> str | None:
    """Return the name of the error that would refuse a request now, limits apart."""
    try:
        recipient = check_recipient(
            check_may_reset(user, None),
            channel,
            allow_unverified=services.settings.allow_unverified,
        )
        check_country(recipient, sms_regions(organisation, services.sms_regions))
        check_line(recipient, services.settings.sms_allow_lines)
    except CallerError as error:
        return type(error).__name__.removesuffix("Error")
    if suppression:
        return "RecipientSuppressed"
    carriers = provider_names(organisation, channel, services.provider_names[channel])
    return None if carriers else "ProviderMissing"


def list_resets(services: WebServices, credentials: Credentials, wanted: PageRequest) -> Page:
    """Return a page of the resets in organisations where the caller has `user.read`.

    It is empty for a user without such resets, whether or not the user exists.

    Raises:
        UnauthenticatedError, OrganisationUnknownError, MembershipMissingError.
    """
    caller = services.auth.authenticate(credentials)
    if wanted.user_id is not None:
        check_id_length(wanted.user_id)
    may_read = partial(services.auth.may, caller, permission=USER_READ)
    return find_page(services, wanted, credentials.org_id, may_read)


def find_page(
    services: WebServices,
    wanted: PageRequest,
    org_id: str | None,
    may_read: Callable[[str], bool] = lambda _: True,
) -> Page:
    """Return a page of the resets of an organisation, or of every one that `may_read` accepts."""
    find = _of_all if wanted.user_id is None else _of_user
    found, token = find(services, wanted, org_id, may_read)
    return Page(tuple((reset, masked_recipient(services, reset)) for reset in found), token)


def _of_user(
    services: WebServices, wanted: PageRequest, org_id: str | None, may_read: Callable[[str], bool]
) -> tuple[list[Reset], str | None]:
    """Page by the user's sequence, which a later reset does not change."""
    before = wanted.token[2] if wanted.token else None
    found = [
        reset
        for reset in services.resets.find_of_user(wanted.user_id or "")
        if org_id in (None, reset.org_id)
        and may_read(reset.org_id)
        and wanted.status in (None, reset.status)
        and (wanted.since is None or reset.created_at >= wanted.since)
        and (wanted.until is None or reset.created_at <= wanted.until)
        and wanted.provider in (None, *(each.provider for each in reset.attempts[-1:]))
        and wanted.request_id in (None, reset.request_id)
        and (before is None or reset.sequence < before)
    ]
    page = found[: wanted.limit]
    return page, f"0-0-{page[-1].sequence}" if len(found) > len(page) else None


def _of_all(
    services: WebServices, wanted: PageRequest, org_id: str | None, may_read: Callable[[str], bool]
) -> tuple[list[Reset], str | None]:
    def may_see(entry: HistoryEntry) -> bool:
        return may_read(entry.org_id)

    filters = HistoryFilter(
        org_id=org_id,
        since=wanted.since,
        until=wanted.until,
        provider=wanted.provider,
        request_id=wanted.request_id,
        statuses=frozenset({wanted.status} if wanted.status else ()),
    )
    cursor = None
    if wanted.token:
        bucket, shard, end = wanted.token
        cursor = HistoryCursor(bucket, min(shard, SHARDS - 1), end - 1 if end else None)
    entries, after = services.history.page(
        filters, cursor, most=wanted.limit, may_see=may_see, most_scanned=wanted.most_scanned
    )
    found = services.resets.find_many([entry.reset_id for entry in entries])
    if after is None:
        return found, None
    # A token holds one more than the end; 0 where a list is not begun, and is read from its end.
    return found, f"{after.bucket}-{after.shard}-{0 if after.end is None else after.end + 1}"


def check_names(names: Collection[str], *known: str) -> None:
    """Raise InvalidRequestError for an unknown name: a misspelled filter would show too much."""
    if not set(names) <= set(known):
        raise InvalidRequestError(f"the query may name {', '.join(known)}")


def read_page(query: Mapping[str, str]) -> PageRequest:
    """Read the parameters of a list; raise InvalidRequestError if one cannot be understood."""
    check_names(query.keys(), "userId", "status", "since", "limit", "pageToken")
    return PageRequest(
        user_id=query.get("userId"),
        status=_read_status(query.get("status")),
        since=_read_since(query.get("since")),
        limit=read_count(query.get("limit"), "limit", default=50, most=MAX_ON_A_PAGE),
        token=_read_token(query.get("pageToken")),
    )


def read_count(text: str | None, name: str, *, default: int, most: int) -> int:
    """Read a whole number from 1 to `most`; raise InvalidRequestError if it is none."""
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
    if not _CURSOR.fullmatch(text):
        raise InvalidRequestError("pageToken must be a nextPageToken of an earlier answer")
    bucket, shard, end = map(int, text.split("-"))
    return bucket, shard, end

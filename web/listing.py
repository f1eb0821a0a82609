"""The use case of listing resets: of one user, or of all that the caller may see, page by page."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from shared.errors import InvalidRequestError
from shared.models import Caller, Reset, Status
from shared.store.history import Filter, Line, Place
from shared.store.keys import SHARDS
from web.explaining import masked_recipient
from web.house import House
from web.lever_rights import USER_READ
from web.resets import Credentials, check_user_id

MOST_ON_A_PAGE = 100
PLACE_PATTERN = r"[0-9]{1,9}-[0-9]{1,2}-[0-9]{1,9}"
_TOKEN = re.compile(PLACE_PATTERN)


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedPage:
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


def list_resets(house: House, credentials: Credentials, wanted: WantedPage) -> Page:
    """A page of the resets in organisations where the caller has `user.read`.

    Raises:
        UnauthenticatedError, OrganisationUnknownError, MembershipMissingError.
    """
    caller = house.auth.authenticate(credentials.authorization)
    org_id = None
    if credentials.org_id:
        org_id = house.auth.organisation_in_force(caller, credentials.org_id).org_id
    if wanted.user_id is not None:
        check_user_id(wanted.user_id)
        found, token = _of_user(house, caller, wanted.user_id, org_id, wanted)
    else:
        found, token = _of_all(house, caller, org_id, wanted)
    return Page(tuple((reset, masked_recipient(house, reset)) for reset in found), token)


def _of_user(
    house: House, caller: Caller, user_id: str, org_id: str | None, wanted: WantedPage
) -> tuple[list[Reset], str | None]:
    """By the user's sequence, which a later reset does not change."""
    before = wanted.token[2] if wanted.token else None
    found = [
        reset
        for reset in house.resets.find_of_user(user_id)
        if org_id in (None, reset.org_id)
        and house.auth.may(caller, reset.org_id, USER_READ)
        and wanted.status in (None, reset.status)
        and (wanted.since is None or reset.created_at >= wanted.since)
        and (before is None or reset.sequence < before)
    ]
    page = found[: wanted.limit]
    return page, f"0-0-{page[-1].sequence}" if len(found) > len(page) else None


def _of_all(
    house: House, caller: Caller, org_id: str | None, wanted: WantedPage
) -> tuple[list[Reset], str | None]:
    def may_see(line: Line) -> bool:
        return house.auth.may(caller, line.org_id, USER_READ)

    which = Filter(
        org_id=org_id,
        since=wanted.since,
        statuses=frozenset({wanted.status} if wanted.status else ()),
    )
    place = _place(wanted.token) if wanted.token else None
    lines, after = house.history.page(which, place, most=wanted.limit, may_see=may_see)
    found = [reset for line in lines if (reset := house.resets.find(line.reset_id))]
    return found, _spell(after) if after else None


def _spell(place: Place) -> str:
    """One more than the end; 0 where a list is not begun yet, and is read from its end then."""
    return f"{place.bucket}-{place.shard}-{0 if place.end is None else place.end + 1}"


def _place(token: tuple[int, int, int]) -> Place:
    bucket, shard, end = token
    return Place(bucket, min(shard, SHARDS - 1), end - 1 if end else None)


def check_names(names: Collection[str], *known: str) -> None:
    """Nothing, when a query has these names only: a filter misspelled would show too much.

    Raises:
        InvalidRequestError: it has another.
    """
    if not set(names) <= set(known):
        raise InvalidRequestError(f"the query may name {', '.join(known)}")


def read_page(query: Mapping[str, str]) -> WantedPage:
    """What the query asks for.

    Raises:
        InvalidRequestError: it cannot be understood.
    """
    check_names(query.keys(), "userId", "status", "since", "limit", "pageToken")
    return WantedPage(
        user_id=query.get("userId"),
        status=_read_status(query.get("status")),
        since=_read_moment(query.get("since")),
        limit=read_count(query.get("limit"), "limit", default=50, most=MOST_ON_A_PAGE),
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


def _read_moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(re.sub(r":60(?=[.Zz+-])", ":59", text.upper()))
    except ValueError as error:
        raise InvalidRequestError("since must be a moment such as 2026-11-23T12:00:00Z") from error
    if found.tzinfo is None:
        raise InvalidRequestError("since must name its time zone, as in 2026-11-23T12:00:00Z")
    return found


def _read_token(text: str | None) -> tuple[int, int, int] | None:
    if text is None:
        return None
    if not _TOKEN.fullmatch(text):
        raise InvalidRequestError("pageToken must be a nextPageToken of before")
    bucket, shard, end = map(int, text.split("-"))
    return bucket, shard, end

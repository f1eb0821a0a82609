"""Check suppression and the limits of organisation, caller and installation, in one step."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from time import monotonic
from typing import Any

import orjson
import structlog
from cachetools import LRUCache

from shared.errors import (
    RecipientSuppressedError,
    SmsSuspiciousError,
    TooManyRequestsError,
)
from shared.guard.rules import LEVELS, Guarded
from shared.store import keys
from shared.store.codes import MAX_WRONG_OF_A_RESET
from shared.store.connection import Client, store_errors
from shared.store.scripts import Argument, NamedCall, Scripts
from shared.validation import moment

# Of the page's button; a user's digest is what each counts by.
PAGE_LIMITS_OF_A_USER = ("page_user_pause", "page_user", "page_holder_pause", "page_holder")
ONCE_SECONDS = 60  # later calls with the same Idempotency-Key find the reset itself
BUCKET_SECONDS = 600
HOUR_BUCKETS = 6
# Of a lease: also how late a cluster's busy process may notice that a token was revoked.
LEASE_SECONDS, AHEAD_SECONDS, GAP_WEIGHT, MAX_LEASES = 1.0, 0.25, 0.1, 4096
CHANGES = "changes of "  # before the id: the window of calls that change something without a reset

log = structlog.get_logger()


class CallerChangedError(Exception):
    """Callers or organisations changed since this caller was read; it must be read again."""


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `most` calls in a window that begins with its first call."""

    name: str  # organisation, caller, sms_budget: named to the caller
    about: str  # whose: an id
    most: int
    window_seconds: int
    amount: int = 1  # of this call

    @property
    def key(self) -> str:
        """Return the key of its counter."""
        return keys.window(self.name, self.about)


@dataclass(slots=True)
class _Lease:
    """Calls of this process that the gate has counted in advance."""

    at: float  # of the last call, by this machine's monotonic clock
    gap_seconds: float = 1.0  # between calls, on the average of the last few
    left: int = 0
    ends_at: float = 0.0


class LimitStore:
    """Check and clear limits."""

    def __init__(self, client: Client) -> None:
        """`client` may be a fake one."""
        self._client, self._scripts = client, Scripts(client)
        self._leases: LRUCache[Hashable, _Lease] = LRUCache(MAX_LEASES)
        self._leasing = Lock()

    def gate(
        self,
        limits: Sequence[Limit],
        *,
        recipient_digest: str,
        version: int,
        reset_id: str,
        is_repeatable: bool = False,
        may_count: bool = True,
        guarded: Guarded | None = None,
    ) -> NamedCall | None:
        """Return the call that counts one call toward every limit if all of them allow it.

        `is_repeatable`: concurrent calls for the same reset count as one.
        `may_count=False` checks the suppression alone. `guarded`: of an SMS.
        None: a cluster's gate counted it in advance; raises CallerChangedError there.
        """
        suppression = keys.suppression(recipient_digest)
        seen, is_suppressed = self._scripts.look_ahead(suppression, absent=keys.GATE)
        is_plain = version >= 0 and may_count and not is_suppressed and not guarded
        if is_plain and not self._scripts.has_one_node and self._is_leased(limits, version):
            return None
        names = [keys.VERSION, seen, keys.counted(reset_id)]
        names += [each.key for each in limits]
        guard = ""
        if guarded:
            names += [keys.sms_mark(guarded.recipient_digest), keys.SMS_NAMED, keys.SMS_STATES]
            names += [keys.SMS_TOTALS, *map(keys.sms_subject, guarded.subjects)]
            guard = _write_guard(guarded, reset_id)
        once_ms = ONCE_SECONDS * 1000 if is_repeatable else 0
        mode = "suppressed" if is_suppressed else int(may_count)
        arguments: list[Argument] = [version, mode, once_ms, guard]
        for each in limits:
            arguments += _window(each)
        return "reset/pass_gate", names, arguments

    def pass_gate(self, limits: Sequence[Limit], **asked: Any) -> None:
        """Make the call of `gate`; raise as `check_gate` does."""
        if call := self.gate(limits, **asked):
            check_gate(self._scripts.run(*call))

    def _is_leased(self, limits: Sequence[Limit], version: int) -> bool:
        """Return True if the gate counted this call in advance; False: it is to be asked.

        A process with many calls takes up to a hundredth of a limit at a time. Where calls are
        few, and where limits are small or nearly reached, each is counted by itself.
        """
        most, now = min((each.most // 100 for each in limits), default=MAX_LEASES), monotonic()
        with self._leasing:
            about = (version, *(each.key for each in limits))
            lease = self._leases[about] = self._leases.get(about) or _Lease(now)
            lease.gap_seconds += GAP_WEIGHT * (min(1.0, now - lease.at) - lease.gap_seconds)
            lease.at = now
            if not lease.left or now > lease.ends_at:
                size = min(most, int(AHEAD_SECONDS / max(lease.gap_seconds, 0.001)))
                if size <= 1:
                    return False
                try:
                    many = [replace(each, amount=size) for each in limits]
                    self.count_change(many, version=version, prefix="")
                except TooManyRequestsError:
                    return False
                lease.left, lease.ends_at = size, now + LEASE_SECONDS
            lease.left -= 1
            return True

    def count_change(self, limits: Sequence[Limit], *, version: int, prefix: str = CHANGES) -> None:
        """Count a call that records no reset toward every limit, if all of them allow it.

        Such calls have windows of their own: resets leave room for what stops them.

        Raises:
            CallerChangedError: `version` is no longer the current one.
            TooManyRequestsError: a limit is reached.
        """
        names = [keys.VERSION, *(keys.window(each.name, prefix + each.about) for each in limits)]
        arguments: list[Argument] = [version]
        for each in limits:
            arguments += _window(each)
        check_gate(self._scripts.run("count_change", names, arguments))

    def give_back(
        self,
        limits: Sequence[Limit],
        *,
        reset_id: str,
        is_repeatable: bool = False,
        guarded: Guarded | None = None,
    ) -> None:
        """Subtract one call from every limit, because no reset was recorded."""
        names = [keys.counted(reset_id), *(each.key for each in limits)]
        if guarded:
            names.append(keys.sms_mark(guarded.recipient_digest))
            names += map(keys.sms_subject, guarded.subjects)
        if len(names) > 1:
            amounts = [each.amount for each in limits]
            arguments: tuple[Argument, ...] = (int(is_repeatable), len(limits), reset_id, *amounts)
            self._scripts.run("reset/undo_gate", names, arguments)

    def clear(self, name: str, about: str) -> dict[str, int]:
        """Restart a limit's windows; return what was counted in them, by name."""
        windows = {"calls": keys.window(name, about), "changes": keys.window(name, CHANGES + about)}
        with store_errors():
            pipeline = self._client.pipeline(transaction=True)
            pipeline.mget(*windows.values())
            pipeline.delete(*windows.values())
            counted = pipeline.execute()[0]
        found = zip(windows, counted, strict=True)
        return {name: int(number) for name, number in found if number}

    def read_user(self, user_place: tuple[str, str]) -> dict[str, int]:
        """Return what is counted of a user, by name."""
        tag, user = user_place
        with store_errors():
            until, sequence = self._client.hmget(keys.user(tag, user), "cd", "seq")
            requests = self._client.zcard(keys.requests(tag, user))
        found = {"cooldownUntilMs": until, "sequence": sequence, "requestsInADay": requests}
        return {name: int(number) for name, number in found.items() if number}

    def clear_user(self, user_place: tuple[str, str]) -> dict[str, int]:
        """Clear what keeps a user from resets and codes; return what was in force, by name."""
        tag, user = user_place
        with store_errors():
            pressed = self._client.delete(*(keys.window(n, user) for n in PAGE_LIMITS_OF_A_USER))
        names = (keys.user(tag, user), keys.requests(tag, user), keys.guesses(tag, user))
        answer = self._scripts.run("admin/clear_user", names, (user, tag, MAX_WRONG_OF_A_RESET))
        found = dict(zip(answer[::2], map(int, answer[1::2]), strict=True)) | {"page": pressed}
        return {name: number for name, number in found.items() if number}


def _window(limit: Limit) -> tuple[Argument, ...]:
    return limit.name, limit.most, limit.window_seconds * 1000, limit.amount


def _write_guard(guarded: Guarded, reset_id: str) -> str:
    levels = {rule: LEVELS.index(level) for rule, level in guarded.levels.items()}
    buckets = max(HOUR_BUCKETS, 2 + int(guarded.lifetime_seconds // BUCKET_SECONDS))
    # A country, two digits more, four digits more; a source may be a whole caller.
    numbers = [guarded.numbers, max(1, guarded.numbers * 3 // 4), max(1, guarded.numbers // 2)]
    subjects: list[list[str | int]] = [
        [prefix, most, levels["velocity"], levels["conversion"]]
        for prefix, most in zip(guarded.counted, numbers, strict=False)
    ]
    if guarded.source_subject:
        subjects.append([guarded.source_subject, 2 * guarded.numbers, levels["source"], 0])
    guard = {
        "named": guarded.prefixes,
        "subjects": subjects,
        "mature": buckets,
        "lifetime_ms": int(guarded.lifetime_seconds * 1000),
        "reset_id": reset_id,
        "source": guarded.source_subject,
    }
    return orjson.dumps(guard).decode()


def check_gate(answer: Sequence[str]) -> None:
    """Raise what a gate answered.

    Raises:
        CallerChangedError, RecipientSuppressedError, TooManyRequestsError, SmsSuspiciousError.
    """
    if answer[0] == "stale":
        raise CallerChangedError
    if answer[0] == "suppressed":
        raise RecipientSuppressedError
    first_tripped = {"ok": 1, "suspicious": 4}.get(answer[0], len(answer))
    for tripped in answer[first_tripped:]:
        rule, level, about = tripped.split(" ", 2)
        log.warning("sms.suspicious", rule=rule, effect=level, about=about)
    if answer[0] == "suspicious":
        until = moment(answer[3]) if int(answer[3]) else None
        raise SmsSuspiciousError(answer[1], answer[2], until=until)
    if answer[0] == "limited":
        seconds = max(1, -(-int(answer[2]) // 1000))
        raise TooManyRequestsError(answer[1], retry_after_seconds=seconds)

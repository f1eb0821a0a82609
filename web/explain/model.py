"""What a verdict is made from: a user's resets, refusals and obstacles as they stand now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from shared.models import Reset
from shared.store.admin.pauses import Pause
from shared.store.admin.refusals import Refusal
from shared.store.suppressions import Suppression


class VerdictKind(StrEnum):
    """The sorts of answers to "why did she get nothing?"."""

    NO_REQUEST = "no_request"  # nothing reached us
    LIMITED = "limited"  # a limit refused it
    NO_ADDRESS = "no_address"  # nowhere to write to
    REFUSED = "refused"  # refused for another reason: the user, the provider, the link
    WAITING = "waiting"  # in a queue, paused or held
    RETRYING = "retrying"  # surely not taken, or perhaps; looked at again
    FAILED = "failed"  # for good
    ACCEPTED = "accepted"  # the provider has it and said no more
    DEFERRED = "deferred"  # the provider has it and waits for the recipient's server
    BOUNCED = "bounced"  # it came back, or the address is not written to
    DELIVERED = "delivered"  # it arrived
    OVER = "over"  # opened, expired, used, overtaken
    BLOCKED = "blocked"  # the country or the number gets no SMS


@dataclass(frozen=True, slots=True)
class Verdict:
    """What happened, and what to do next."""

    kind: VerdictKind
    words: str
    next_step: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Of one user, about one reset or about none."""

    now: datetime  # Redis's clock
    user_id: str
    org_id: str = ""
    reset: Reset | None = None
    recipient: str | None = None  # of the reset, masked
    suppression: Suppression | None = None  # of the address the reset goes to
    refusals: tuple[Refusal, ...] = ()  # newest first
    obstacle: str | None = None  # what would refuse a request now: the name of an error
    pauses: tuple[Pause, ...] = ()
    providers: tuple[str, ...] = ()  # of the reset's channel
    workers: int = 0  # seen lately, of the reset's queue
    is_heard: bool = False  # the last attempt's provider can tell us what became of it


@dataclass(frozen=True, slots=True)
class TimelineStep:
    """One thing that happened, or is going to."""

    at: datetime
    step: str  # call, refused, queue, provider, attempt, receipt, operator, opened, …, deadline
    words: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """A verdict, the chain of what happened, and the resets it is about, newest first."""

    user_id: str
    verdict: Verdict
    chain: tuple[TimelineStep, ...]
    resets: tuple[tuple[Reset, str | None], ...]  # each with its masked recipient

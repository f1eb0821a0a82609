"""The evidence for a diagnosis, and the diagnosis."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from shared.models import Reset
from shared.store.admin.pauses import Pause
from shared.store.admin.refusals import Refusal
from shared.store.codes import GuessCount
from shared.store.suppressions import Suppression


class DiagnosisKind(StrEnum):
    """What happened, as one word for programs."""

    NO_REQUEST = "no_request"  # no request reached us
    LIMITED = "limited"  # a limit refused it
    NO_ADDRESS = "no_address"  # the user has no address on the channel
    REFUSED = "refused"  # refused for another reason: the user, the provider, the link
    WAITING = "waiting"  # in a queue, paused or held
    RETRYING = "retrying"  # not taken or in doubt; another attempt is due
    FAILED = "failed"  # for good
    ACCEPTED = "accepted"  # the provider has it and reported nothing since
    DEFERRED = "deferred"  # the provider has it and waits for the recipient's server
    BOUNCED = "bounced"  # it bounced, or the address is suppressed
    DELIVERED = "delivered"  # it arrived
    OVER = "over"  # opened, expired, used or superseded
    BLOCKED = "blocked"  # no SMS goes to this country or number


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What happened, and what to do next."""

    kind: DiagnosisKind
    text: str
    next_step: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of a user, with or without a reset."""

    now: datetime  # Redis's clock
    user_id: str
    org_id: str = ""
    reset: Reset | None = None
    recipient: str | None = None  # of the reset, masked
    suppression: Suppression | None = None  # of the address the reset goes to
    code_change: str = ""  # what its code rested on changed since: see Digests.what_changed
    refusals: tuple[Refusal, ...] = ()  # newest first
    obstacle: str | None = None  # what would refuse a request now: the name of an error
    pauses: tuple[Pause, ...] = ()
    providers: tuple[str, ...] = ()  # of the reset's channel
    workers: int = 0  # alive, of the reset's queue
    guesses: tuple[GuessCount, ...] = ()  # at the user's typed codes, the most first
    is_void: bool = False  # so many guesses that the reset's code cannot be typed any more
    has_callbacks: bool = False  # the last attempt's provider reports what became of a message


@dataclass(frozen=True, slots=True)
class TimelineStep:
    """An event of the past, or one that is due."""

    at: datetime
    step: str  # call, refused, queue, provider, attempt, receipt, operator, opened, …, deadline
    text: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """A diagnosis, the events that led to it, and the resets it is about, newest first."""

    user_id: str
    diagnosis: Diagnosis
    timeline: tuple[TimelineStep, ...]
    resets: tuple[tuple[Reset, str | None], ...]  # each with its masked recipient
    caller: str | None = None  # who asked for the newest

"""Record, claim, start, finish and read resets in Redis; each step is one script."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import orjson

from shared.errors import StoreUnavailableError, TooManyRequestsError
from shared.models import Attempt, Channel, DeliveryEvent, Kind, Outcome, Queue, Reset, Status
from shared.policies import doubt_delay_seconds
from shared.settings import Settings
from shared.store import keys
from shared.store.connection import TIMEOUT_SECONDS, Client, store_errors
from shared.store.digests import Digests
from shared.store.scripts import Argument, NamedCall, Scripts, SharingCall
from shared.validation import moment, moment_from_us

MAX_CLAIMS = 5  # claims in a row without an outcome: the record is poison
# How many keys and arguments of a script are a reset's own, where one call is for many resets.
OWN = {
    "reset/claim": (1, 1),
    "reset/renew": (1, 2),
    "reset/start_attempt": (1, 3),
    "reset/finish": (2, 3),
}
# Upper bounds of the provider call histogram, in ms; the last is open.
DURATION_BUCKETS_MS = (25, 50, 100, 250, 500, 1000, 2500, 5000, 10000)
# Upper bounds of the time from the record to a provider's acceptance, in ms.
ACCEPTED_BUCKETS_MS = (
    *(25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000),
    *(300000, 900000, 3600000),
)

# Optional fields of a new record: Reset's name → the record's.
OPTIONAL_FIELDS = {
    "request_id": "rq",
    "url_template": "tp",
    "batch_id": "b",
    "trace": "tr",
    "caller_id": "by",
    "idempotency": "ik",  # the digest of its Idempotency-Key
    "basis": "bs",
    "listing": "ls",
    "recipient_digest": "to",
}
# Looking up an enum member by its value takes four times as long.
_KINDS = {each.value: each for each in Kind}
_CHANNELS = {each.value: each for each in Channel}
_QUEUES = {each.value: each for each in Queue}
_STATUSES = {each.value: each for each in Status}


class ClaimOverError(Exception):
    """The claim ended, or the code was voided or superseded meanwhile."""


class TooLateError(Exception):
    """The code is about to expire: no attempt may start any more."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to work on a reset until the lease ends."""

    reset: Reset
    fence: int
    is_doubtful: bool  # an earlier attempt may have been taken
    now: datetime  # Redis's clock at the claim
    lease_ends: float  # on this machine's monotonic clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """The outcome of a claim."""

    status: Status
    reason: str = ""
    delay_seconds: float = 0
    outcome: Outcome | None = None  # of the attempt; None when none was made
    provider: str = ""
    provider_message_id: str = ""
    detail: str = ""
    duration_ms: int = 0


class ResetCalls:
    """Build keys and arguments of the scripts that claim, start an attempt and finish."""

    def __init__(self, digests: Digests, settings: Settings) -> None:
        """Take what the arguments need of the settings."""
        self._digests = digests
        self._keep_ms = int(settings.record_lifetime_seconds * 1000)
        self.lease_seconds = settings.lease_seconds
        self._lease_ms = int(settings.lease_seconds * 1000)
        self._doubts_ms = [
            int(doubt_delay_seconds(channel, settings.doubt_seconds) * 1000)
            for channel in (Channel.EMAIL, Channel.SMS)
        ]

    def claim(self, reset_id: str) -> SharingCall:
        """Return the call of reset/claim."""
        self._digests.check()  # what cannot be sent is not claimed
        tag = keys.tag_of(reset_id)
        names = (
            keys.reset(reset_id),
            keys.due(tag, Queue.URGENT),
            keys.due(tag, Queue.BULK),
            keys.counters(tag),
        )
        arguments = (reset_id, self._lease_ms, MAX_CLAIMS, self._keep_ms, tag)
        return names, (*arguments, *self._doubts_ms)

    def read_claim(self, reset_id: str, answer: list[Any], began: float) -> Claim | None:
        """Return the claim of an answer; `began` is the monotonic time just before the call."""
        if answer[0] != "claimed":
            return None
        record = _pairs(answer[4:])
        user = self._digests.user_place(record["u"])[1]
        if record.get("ud", user) != user:
            self._digests.verify()  # it was recorded with another digest key than ours
        reset = parse_reset(reset_id, record)
        return Claim(
            reset, int(answer[2]), answer[3] == 1, moment(answer[1]), began + self.lease_seconds
        )

    def renew(self, claim: Claim) -> SharingCall:
        """Return the call of reset/renew."""
        reset_id, queue = claim.reset.reset_id, claim.reset.queue
        names = keys.reset(reset_id), keys.due(keys.tag_of(reset_id), queue)
        return names, (reset_id, claim.fence, self._lease_ms)

    def sending(
        self,
        claim: Claim,
        provider: str,
        recipient_digest: str,
        switch: tuple[str, str] | None = None,
        text_version: str = "",
    ) -> SharingCall:
        """Return the call of reset/start_attempt; `switch`: instead of which provider, and why."""
        reset_id = claim.reset.reset_id
        names = keys.reset(reset_id), keys.counters(keys.tag_of(reset_id))
        own = claim.fence, recipient_digest, claim.reset.basis or ""
        return names, (*own, provider, text_version, *(switch or ()))

    def finish(
        self, claim: Claim, finish: Finish, outcome: tuple[Argument, ...] | None = None
    ) -> SharingCall:
        """Return the call of reset/finish; `outcome`: its last arguments, if built already."""
        reset = claim.reset
        tag, user = self._digests.user_place(reset.user_id)
        names = (
            keys.reset(reset.reset_id),
            keys.user(tag, user),
            keys.due(tag, reset.queue),
            keys.counters(tag),
        )
        own = (reset.reset_id, claim.fence, int(finish.delay_seconds * 1000))
        return names, own + (outcome or self._outcome(finish))

    def finish_all(self, ends: Sequence[tuple[Claim, Finish]]) -> list[SharingCall]:
        """Return the calls for many; several claims may share one finish."""
        outcomes = {i: self._outcome(end) for i, end in {id(end): end for _, end in ends}.items()}
        return [self.finish(claim, finish, outcomes[id(finish)]) for claim, finish in ends]

    def _outcome(self, finish: Finish) -> tuple[Argument, ...]:
        index = bisect_left(DURATION_BUCKETS_MS, finish.duration_ms)
        bucket = DURATION_BUCKETS_MS[index] if index < len(DURATION_BUCKETS_MS) else "inf"
        return (
            *(finish.status.value, finish.reason, self._keep_ms),
            *(finish.outcome.value if finish.outcome else "", finish.provider_message_id),
            *(finish.detail, finish.duration_ms, finish.provider, bucket),
            *ACCEPTED_BUCKETS_MS,
        )


MAX_LIVE_CODES = 3
PATIENCE_US = int(TIMEOUT_SECONDS * 800_000)  # less than the caller's, so 503 means: not recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class NewReset:
    """A reset to be recorded."""

    reset_id: str
    user_id: str
    org_id: str
    channel: Channel
    language: str
    key_id: str
    lifetime_seconds: float
    last_start_seconds: float  # no attempt starts later than this before the deadline
    kind: Kind = Kind.RESET
    queue: Queue = Queue.URGENT
    cooldown_seconds: float = 0
    limit_per_hour: int = 0
    limit_per_day: int = 0
    keep_seconds: float = 0  # how long it is kept once finished; 0: as the settings say
    since_ms: int = 0  # skip users with newer resets, or one that waits; 0: skip none
    extra: Mapping[str, str] = field(default_factory=dict)  # by the names of OPTIONAL_FIELDS


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recorded reset; `is_new` is False if it existed before."""

    reset_id: str
    created_at: datetime
    deadline_at: datetime
    sequence: int
    org_id: str
    is_new: bool


class ResetStore:
    """The only place that reads and writes resets."""

    def __init__(self, client: Client, digests: Digests, settings: Settings) -> None:
        """`client` may be a fake one."""
        self._client, self._digests = client, digests
        self._scripts = Scripts(client, settings.durability)
        # A failover must not forget that a message goes out. A disk may take a second each time.
        is_replicated = settings.durability.startswith("replica")
        self._marks = Scripts(client, settings.durability if is_replicated else "memory")
        self._keep_ms = int(settings.record_lifetime_seconds * 1000)
        self._calls = ResetCalls(digests, settings)

    def record(self, new: NewReset) -> Recorded:
        """Record a reset and its entry in the due set, within the user's limits, in one step.

        Repeating it changes nothing and returns the first record. Raises as `read_recorded` does.
        """
        answer = self._scripts.run_durably("reset/record", *self.record_call(new))
        return self.read_recorded(new, answer)

    def record_behind(
        self, gate: NamedCall | None, new: NewReset, hint: NamedCall | None
    ) -> tuple[Any, Any]:
        """Pass a gate, record, hint; return the answers of the gate and of what it let pass.

        `gate` None: it is passed already. A record that comes so late that the caller was refused
        meanwhile is not written.
        """
        call = self.record_call(new, self._scripts.clock_us(keys.tag_of(new.reset_id)))
        record: NamedCall = ("reset/record", *call)
        answers = self._scripts.run_in_turn(*(each for each in (gate, record, hint) if each))
        passed, *rest = answers if gate else (["ok"], *answers)
        return passed, rest[0] if rest else None

    def read_recorded(self, new: NewReset, answer: Sequence[Any]) -> Recorded:
        """Return what reset/record answered.

        Raises:
            TooManyRequestsError: a limit of the user.
            StoreUnavailableError: not recorded; or recorded, and not confirmed as durable in time.
        """
        if answer[0] in ("limited", "skipped"):
            seconds = -(-int(answer[2]) // 1000) if answer[0] == "limited" else 1
            raise TooManyRequestsError(answer[1], retry_after_seconds=max(1, seconds))
        if answer[0] == "late":
            self._scripts.clocks.clear()  # or one was set
            raise StoreUnavailableError
        if answer[0] == "known":
            self.confirm(new.reset_id)
        return Recorded(
            new.reset_id,
            moment_from_us(answer[1]),
            moment(answer[2]),
            int(answer[3]),
            answer[4],
            is_new=answer[0] == "recorded",
        )

    def confirm(self, reset_id: str) -> None:
        """Return once an existing record is as durable as a new one would be.

        Raises:
            StoreUnavailableError: it was not confirmed in time.
        """
        self._scripts.confirm(keys.tag_of(reset_id), keys.reset(reset_id))

    def record_call(
        self, new: NewReset, asked_us: int = 0
    ) -> tuple[tuple[str, ...], list[Argument]]:
        """Return the keys and arguments; `asked_us`: refused if it arrives too late after this."""
        tag, user = self._digests.user_place(new.user_id)
        arguments: list[Argument] = [new.reset_id, new.user_id, new.org_id]
        arguments += [new.channel.value, new.queue.value]
        arguments += [int(new.lifetime_seconds * 1000), new.key_id, new.language, new.kind.value]
        arguments += [int(new.cooldown_seconds * 1000), new.limit_per_hour, new.limit_per_day]
        keep_ms = int(new.keep_seconds * 1000) or self._keep_ms
        arguments += [MAX_LIVE_CODES, keep_ms, int(new.last_start_seconds * 1000), tag]
        arguments += [asked_us, PATIENCE_US, new.since_ms]
        for pair in new.extra.items():
            arguments += pair
        if keep_ms != self._keep_ms:
            arguments += ["kp", keep_ms]
        return _record_keys(tag, user, new), arguments

    def find(self, reset_id: str) -> Reset | None:
        """Return the reset with its attempts and events, or None if the id is unknown."""
        return next(iter(self.find_many([reset_id])), None)

    def find_many(self, reset_ids: Iterable[str]) -> list[Reset]:
        """Return those of the resets that are known, in one trip."""
        known = [each for each in reset_ids if keys.find_shard(each) >= 0]
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            for each in known:
                pipeline.hgetall(keys.reset(each))
            records = pipeline.execute()
        pairs = zip(known, records, strict=True)
        return [parse_reset(each, record) for each, record in pairs if record]

    def find_of_user(self, user_id: str, *, with_older: bool = False) -> list[Reset]:
        """Return a user's last resets, newest first; then older ones and notices, if asked."""
        tag, user = self._digests.user_place(user_id)
        with store_errors():
            fields = self._client.hgetall(keys.user(tag, user))
            ids = [name for name in fields if len(name) == keys.ID_LENGTH]  # each with its sequence
            ids.sort(key=lambda reset_id: -int(fields[reset_id]))
            if with_older:
                ids += self._client.zrevrange(keys.older(tag, user), 0, -1)
        return self.find_many(ids)

    def claim(self, reset_id: str) -> Claim | None:
        """Claim a reset; return None if it is claimed, not due, or final."""
        began = time.monotonic()
        answer = self._scripts.run("reset/claim", *self._calls.claim(reset_id))
        return self._calls.read_claim(reset_id, answer, began)

    def claim_many(self, reset_ids: Sequence[str]) -> list[Claim]:
        """Claim many resets, in few round trips; return the claims that succeeded.

        Raises:
            StoreUnavailableError: none succeeded, because Redis did not answer.
        """
        calls = [self._calls.claim(reset_id) for reset_id in reset_ids]
        began = time.monotonic()
        answers = self._scripts.run_together("reset/claim", calls, own=OWN["reset/claim"])
        claims = [
            claim
            for reset_id, answer in zip(reset_ids, answers, strict=True)
            if not isinstance(answer, StoreUnavailableError)
            and (claim := self._calls.read_claim(reset_id, answer, began)) is not None
        ]
        if not claims:
            _raise_first(answers)
        return claims

    def renew_many(self, claims: Sequence[Claim]) -> list[Claim | None]:
        """Return each claim with a lease that begins now; None for one that is over.

        Raises:
            StoreUnavailableError: Redis did not answer.
        """
        began = time.monotonic()
        calls = [self._calls.renew(claim) for claim in claims]
        answers = self._scripts.run_together("reset/renew", calls, own=OWN["reset/renew"])
        _raise_first(answers)
        ends = began + self._calls.lease_seconds
        pairs = zip(claims, answers, strict=True)
        return [replace(claim, lease_ends=ends) if answer else None for claim, answer in pairs]

    def mark_sending(
        self,
        claim: Claim,
        *,
        provider: str,
        recipient_digest: str,
        switch: tuple[str, str] | None = None,
        text_version: str = "",
    ) -> int:
        """Start an attempt and return its number; call no provider without it.

        The code rests on the claim's basis from now on.
        `switch`: instead of which provider, and why; it is counted and added to the timeline.
        `text_version`: of the organisation's own texts; empty: it has the built-in ones.

        Raises:
            ClaimOverError: another worker has the reset, or its code must not be sent any more.
            TooLateError: the code is about to expire.
            StoreUnavailableError: Redis did not answer, or no replica confirmed it.
        """
        call = self._calls.sending(claim, provider, recipient_digest, switch, text_version)
        return _number(self._marks.run_durably("reset/start_attempt", *call))

    def mark_sending_many(
        self,
        marks: Sequence[tuple[Claim, str, tuple[str, str] | None]],
        *,
        provider: str,
        text_version: str = "",
    ) -> list[int | Exception]:
        """Return for each (claim, digest, switch) what `mark_sending` returns or raises."""
        calls = [self._calls.sending(c, provider, d, s, text_version) for c, d, s in marks]
        answers = self._marks.run_together(
            "reset/start_attempt", calls, own=OWN["reset/start_attempt"], is_durable=True
        )
        return [_number_or_error(each) for each in answers]

    def finish(self, claim: Claim, finish: Finish) -> bool:
        """Store the outcome of a claim; return False if another worker has the claim by now.

        Safe to repeat if the answer was lost.
        """
        return bool(self._scripts.run("reset/finish", *self._calls.finish(claim, finish)))

    def finish_many(self, ends: Sequence[tuple[Claim, Finish]]) -> list[bool]:
        """Return for each claim what `finish` returns. Safe to repeat.

        Raises:
            StoreUnavailableError: some were not stored.
        """
        calls = self._calls.finish_all(ends)
        answers = self._scripts.run_together("reset/finish", calls, own=OWN["reset/finish"])
        _raise_first(answers)
        return [bool(answer) for answer in answers]


def _record_keys(tag: str, user: str, new: NewReset) -> tuple[str, ...]:
    return (
        keys.reset(new.reset_id),
        keys.due(tag, new.queue),
        keys.user(tag, user),
        keys.requests(tag, user),
        keys.counters(tag),
        keys.older(tag, user),
    )


def _number(answer: int) -> int:
    if answer < 0:
        raise TooLateError
    if answer == 0:
        raise ClaimOverError
    return int(answer)


def _number_or_error(answer: Any) -> int | Exception:
    if isinstance(answer, StoreUnavailableError):
        return answer
    try:
        return _number(answer)
    except (TooLateError, ClaimOverError) as error:
        return error


def _raise_first(answers: Sequence[Any]) -> None:
    for answer in answers:
        if isinstance(answer, StoreUnavailableError):
            raise answer


def parse_reset(reset_id: str, h: Mapping[str, str]) -> Reset:
    """Return the reset of a stored hash."""
    return Reset(
        reset_id=reset_id,
        kind=_KINDS[h["k"]],
        user_id=h["u"],
        org_id=h["o"],
        channel=_CHANNELS[h["ch"]],
        queue=_QUEUES[h["q"]],
        status=_STATUSES[h["st"]],
        reason=h.get("rs") or None,
        language=h["lg"],
        key_id=h["kid"],
        sequence=int(h["sq"]),
        created_at=moment_from_us(h["c"]),
        deadline_at=moment(h["x"]),
        request_id=h.get("rq"),
        url_template=h.get("tp"),
        batch_id=h.get("b"),
        trace=h.get("tr"),
        caller_id=h.get("by"),
        recipient_digest=h.get("to"),
        basis=h.get("bs"),
        code_end=h.get("v"),
        notice_to=h.get("nt"),
        listing=h.get("ls"),
        text_version=h.get("tv") or None,
        next_look_at=_moment_or_none(h.get("n")),
        opened_at=_moment_or_none(h.get("op")),
        completed_at=_moment_or_none(h.get("co")),
        is_superseded="su" in h,
        is_held="hd" in h,
        attempts=tuple(_attempts(h)) if h.get("at", "0") != "0" else (),
        events=tuple(_events(h)) if "en" in h else (),
    )


def _moment_or_none(ms: str | None) -> datetime | None:
    return moment(ms) if ms else None


def _attempts(h: Mapping[str, str]) -> Iterator[Attempt]:
    for number in range(1, int(h.get("at", "0")) + 1):
        provider, started, *rest = orjson.loads(h[f"a{number}"])
        finished, outcome, message_id, detail = rest or (None, None, None, None)
        yield Attempt(
            number=number,
            provider=provider,
            started_at=moment(started),
            finished_at=moment(finished) if finished else None,
            outcome=Outcome(outcome) if outcome else None,
            provider_message_id=message_id or None,
            detail=detail or None,
        )


def _events(h: Mapping[str, str]) -> Iterator[DeliveryEvent]:
    for number in range(1, int(h.get("en", "0")) + 1):
        at, kind, provider, detail = orjson.loads(h[f"e{number}"])
        yield DeliveryEvent(moment(at), kind, provider or None, detail or None)


def first_event(event: DeliveryEvent) -> dict[str, str]:
    """Return the fields of a record whose timeline begins with an event."""
    at_ms = str(round(event.at.timestamp() * 1000))
    fields = (at_ms, event.type, event.provider or "", event.detail or "")
    return {"en": "1", "e1": orjson.dumps(fields).decode()}


def _pairs(flat: list[Any]) -> dict[str, str]:
    """Return the mapping of field, value, field, value …."""
    return dict(zip(flat[::2], flat[1::2], strict=True))

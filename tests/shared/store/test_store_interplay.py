"""Callbacks, pauses, holds, batches and stale workers among each other: what must hold always.

The machine of test_store_states.py goes on; here it meets everybody else who moves a reset, and at
the end of each run everything must come to its end.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import invariant, rule
from hypothesis.stateful import run_state_machine_as_test as run

from shared.models import DUE_QUEUES, CallbackEvent, Channel, EventType, Outcome, Queue, Status
from shared.settings import Settings
from shared.store import keys
from shared.store.admin.pauses import Pause, Release, Scope
from shared.store.batches import BatchStore
from shared.store.batches.resets import BatchResets
from shared.store.due_sets import WaitingStore, WalkCursor
from shared.store.receipts import ReceiptStore
from shared.store.resets import ClaimOverError, Finish, TooLateError
from tests import EXAMPLES
from tests.shared.store.test_store_states import USERS, ResetMachine, outcomes, picks, users

SPEED = settings(
    max_examples=6 * EXAMPLES,
    stateful_step_count=40,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
BATCHES = ("batch-1", "batch-2")
OPERATOR = {"by": "ops", "reason": "a drill"}
# What a reset may still become once it is final: what a provider tells of a message it took.
LOST = {Status.UNDELIVERED, Status.FAILED, Status.SUPPRESSED}
FORWARD = {
    Status.ACCEPTED: {Status.DELIVERED, *LOST},
    Status.DELIVERED: LOST,  # it came back
    **{status: {Status.DELIVERED} for status in LOST},  # another copy arrived
}
LATELY = datetime(2000, 1, 1, tzinfo=UTC)  # of a pause: it began before everything else

# Those that move a reset come more often.
kinds = st.sampled_from([*EventType, EventType.DELIVERED, EventType.UNDELIVERED, EventType.FAILED])
scopes = st.sampled_from(
    [
        (Scope.QUEUE, Queue.URGENT.value),
        (Scope.QUEUE, Queue.BULK.value),
        (Scope.CHANNEL, Channel.SMS.value),
        (Scope.ORGANISATION, "acme"),
    ]
)


class InterplayMachine(ResetMachine):
    """All who move a reset: workers that are too late, callbacks, operators, batches."""

    def __init__(self):
        super().__init__()
        self.receipts = ReceiptStore(self.client, Settings())
        self.waiting = WaitingStore(self.client)
        self.batches = BatchResets(self.client, self.stores.digests, self.stores.resets)
        self.batch_store = BatchStore(self.client, Settings())
        self.told = Counter()  # events that were received, by reset
        self.applied = Counter()
        self.ends: dict[str, Status] = {}
        self.of_batch: dict[str, str] = {}

    def teardown(self):
        self.let_everything_end()
        super().teardown()

    # Workers

    @rule(number=picks, outcome=outcomes)
    def one_whole_attempt(self, number, outcome):
        """What mostly happens; chance alone would seldom come so far."""
        reset_id = self.pick(self.ids, number)
        self.lapse(number)
        claim = self.stores.resets.claim(reset_id) if reset_id else None
        if not claim:
            return
        self.claims.append([claim, True])
        try:
            self.stores.mark_sending(claim)
        except (ClaimOverError, TooLateError):
            self.claims[-1][1] = False
            return
        status, word = outcome
        finish = Finish(
            status=status, outcome=word, provider="p1", provider_message_id=f"m{claim.fence}"
        )
        assert self.stores.resets.finish(claim, finish)
        assert self.stores.status(reset_id) in (status, Status.CANCELLED)

    @rule(numbers=st.lists(picks, min_size=1, max_size=4))
    def claim_together(self, numbers):
        ids = list(dict.fromkeys(self.pick(self.ids, number) for number in numbers if self.ids))
        due = {i for i in ids if self.is_due(i)}
        claims = self.stores.resets.claim_many(ids)
        assert {claim.reset.reset_id for claim in claims} <= due
        self.claims += [[claim, False] for claim in claims]

    @rule(numbers=st.lists(picks, min_size=1, max_size=4), outcome=outcomes)
    def finish_together(self, numbers, outcome):
        status, word = outcome
        entries = [self.pick(self.claims, number) for number in numbers if self.claims]
        sent = {id(entry): entry for entry in entries if entry[1]}.values()
        fields = {"status": status, "outcome": word, "provider": "p1", "delay_seconds": 5}
        ends = [
            (claim, Finish(**fields, provider_message_id=f"m{claim.fence}")) for claim, _ in sent
        ]
        self.stores.resets.finish_many(ends)

    @rule(number=picks)
    def a_stale_worker_wakes_up(self, number):
        """Its claim is over: neither an attempt nor an end of its own comes of it."""
        entry = self.pick(self.claims, number)
        if not entry or entry[1]:
            return
        claim, _ = entry
        reset_id = claim.reset.reset_id
        if self.stores.field(reset_id, "f") == str(claim.fence):
            return
        before = self.stores.client.hgetall(keys.reset(reset_id))

        with pytest.raises((ClaimOverError, TooLateError)):
            self.stores.mark_sending(claim)
        finish = Finish(status=Status.FAILED, outcome=None, reason="poison")
        is_noted = self.stores.resets.finish(claim, finish)

        assert not is_noted or before.get("ff") == str(claim.fence)  # it had said so in time
        assert self.stores.client.hgetall(keys.reset(reset_id)) == before

    # Callbacks

    @rule(
        number=picks,
        kind=kinds,
        copies=st.integers(1, 2),
        fence=picks,
        is_applied=st.booleans(),
    )
    def a_provider_tells(self, number, kind, copies, fence, is_applied):
        reset_id = self.pick(self.ids, number)
        if not reset_id:
            return
        event = CallbackEvent(
            reset_id=reset_id,
            provider="p1",
            event_id=f"{reset_id}-{kind}-{fence}",
            type=kind,
            message_id=f"m{fence % 4}" if fence % 2 else "",
        )
        length = self.reports_waiting()
        for _ in range(copies):
            self.receipts.receive("p1", [event])
        is_new = self.reports_waiting() - length
        assert is_new in (0, 1)  # the same report counts once
        self.told[reset_id] += is_new
        if is_applied:
            self.a_worker_applies(stale=copies > 1)

    @rule(stale=st.booleans())
    def a_worker_applies(self, stale):
        while shards := self.receipts.shards_waiting():
            first, *_ = self.receipts.head(shards[0], most=2)
            assert self.receipts.settle(first)
            self.applied[first.event.reset_id] += 1
            if stale:  # another worker had read the same head
                assert self.receipts.settle(first) is None

    # Operators

    @rule(scope=scopes)
    def what_is_paused_is_parked(self, scope):
        pause = Pause(*scope, since=LATELY, **OPERATOR)
        due = [reset_id for reset_id in self.ids if self.is_due(reset_id)]
        parked = sum(self.waiting.park(queue, [pause]) for queue in DUE_QUEUES)
        assert parked == len([reset_id for reset_id in due if not self.is_due(reset_id)])

    @rule(scope=scopes, per_second=st.sampled_from([0, 50]))
    def what_was_paused_is_let_go(self, scope, per_second):
        release = Release(*scope, since=LATELY, per_second=per_second, **OPERATOR)
        place = WalkCursor()
        while not place.is_over(release):
            place, release = self.waiting.let_go(release, place)

    @rule(number=picks)
    def hold(self, number):
        if self.ids:
            self.waiting.hold(self.pick(self.ids, number), **OPERATOR)

    @rule(number=picks)
    def release(self, number):
        if self.ids:
            self.waiting.release(self.pick(self.ids, number), **OPERATOR)

    # Batches

    @rule(user=users, batch_id=st.sampled_from(BATCHES))
    def a_batch_feeds(self, user, batch_id):
        """As often as it likes: a user has one reset of a batch."""
        reset_id = self.batches.reset_id(user, batch_id)
        new = self.stores.new(
            user, reset_id=reset_id, queue=Queue.BULK, extra={"b": batch_id, "rq": "r"}
        )
        assert self.batches.record([new, new]) == ["", ""]
        if reset_id not in self.ids:
            self.ids.append(reset_id)
        self.owners[reset_id], self.of_batch[reset_id] = user, batch_id

    # What must hold

    @invariant()
    def no_end_is_left_but_forward(self):
        for reset_id in self.ids:
            status = self.stores.status(reset_id)
            before = self.ends.get(reset_id)
            assert before in (None, status) or status in FORWARD.get(before, set())
            if status.is_final:
                self.ends[reset_id] = status

    @invariant()
    def what_was_told_waits_or_was_applied(self):
        assert self.reports_waiting() == self.told.total() - self.applied.total()

    @invariant()
    def a_batch_counts_each_end_once(self):
        counted = Counter()
        for batch_id in BATCHES:
            for (status, _), number in self.batch_store.ends(batch_id).items():
                counted[batch_id, status] += number
        there = Counter(
            (batch_id, status)
            for reset_id, batch_id in self.of_batch.items()
            if (status := self.stores.status(reset_id)).is_final
        )
        assert counted == there

    @invariant()
    def who_is_handed_over_more_than_twice(self):
        for reset_id in self.ids:
            attempts = self.stores.resets.find(reset_id).attempts
            taken = (Outcome.DOUBT, Outcome.ACCEPTED, Outcome.FOUND)
            assert sum(attempt.outcome in taken for attempt in attempts) <= 2

    # How it is looked at

    def is_due(self, reset_id):
        now = self.stores.now_ms()
        scores = [self.stores.due_at(reset_id, queue) for queue in DUE_QUEUES]
        return any(score is not None and score <= now for score in scores)

    def reports_waiting(self):
        return sum(self.client.llen(keys.receipts(tag)) for tag in keys.TAGS)

    def let_everything_end(self):
        """The deadline of every reset passes, and one look follows: nothing may be left over."""
        for reset_id in self.ids:
            self.stores.end_in(reset_id, -1)
            for queue in DUE_QUEUES:
                if self.stores.due_at(reset_id, queue) is not None:
                    self.stores.make_due(reset_id, queue)
            for _ in range(2):  # one who died in the call is first looked at, then over
                assert self.stores.resets.claim(reset_id) is None
        assert {self.stores.status(each).is_final for each in self.ids} <= {True}
        assert self.stores.census() == self.stores.counted_now() == {}
        for user in USERS:
            self.no_code_works(user)

    def no_code_works(self, user):
        known = self.stores.codes.list_known(user)
        assert not any(code.is_live for code in known)


@pytest.mark.real_server
def test_whoever_moves_a_reset_the_promises_hold_and_all_comes_to_an_end(real_redis_url):
    machine = type("Machine", (InterplayMachine,), {"url": real_redis_url})

    run(machine, settings=SPEED)

"""Random interleavings of all scripts against a real server: what must hold after every step."""

from __future__ import annotations

import re

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from hypothesis.stateful import run_state_machine_as_test as run

from shared.errors import TooManyRequestsError
from shared.models import DUE_QUEUES, Channel, Kind, Outcome, Status
from shared.store import keys
from shared.store.connection import connect
from shared.store.resets import ClaimOverError, Finish, TooLateError
from tests import EXAMPLES
from tests.support.store_builders import GUESSER, notice_id_of, stores_of

SPEED = settings(
    max_examples=3 * EXAMPLES,
    stateful_step_count=30,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
USERS = ("ada", "grace")
# Keys that live for ever, or until they are empty: a user's sequence, counters, the sealed key.
FOR_EVER = re.compile(r"\{kt:\w\w\}:(u:|m$|due:|receipts$)|\{kt:gate\}:seal$")

users = st.sampled_from(USERS)
picks = st.integers(0, 99)
outcomes = st.sampled_from(
    [
        (Status.ACCEPTED, Outcome.ACCEPTED),
        (Status.FAILED, Outcome.PERMANENT),
        (Status.RETRYING, Outcome.TRANSIENT),
        (Status.UNKNOWN, Outcome.DOUBT),
    ]
)
no_attempt = st.sampled_from([Status.QUEUED, Status.CANCELLED])


class ResetMachine(RuleBasedStateMachine):
    """Drives the stores; remembers only ids, claims and the highest fence of each reset."""

    url: str

    def __init__(self):
        super().__init__()
        self.client = connect(self.url)
        self.client.flushdb()
        self.stores = stores_of(self.client)
        self.ids: list[str] = []
        self.owners: dict[str, str] = {}
        self.claims = []
        self.tokens = []
        self.fences: dict[str, int] = {}

    def teardown(self):
        self.client.close()

    def pick(self, items, number):
        """One of them, or None; preconditions would not do, for chance decides what is there."""
        return items[number % len(items)] if items else None

    @rule(
        user=users,
        channel=st.sampled_from(Channel),
        queue=st.sampled_from(DUE_QUEUES),
        kind=st.sampled_from([Kind.RESET, Kind.RESET, Kind.RETURNED]),
        cooldown=st.sampled_from([0, 0, 0.02, 60]),
        hour=st.sampled_from([0, 0, 3]),
    )
    def record(self, user, channel, queue, kind, cooldown, hour):
        changes = {"channel": channel, "queue": queue, "kind": kind}
        try:
            reset_id = self.stores.record(
                user, cooldown_seconds=cooldown, limit_per_hour=hour, **changes
            )
        except TooManyRequestsError:
            return
        self.ids.append(reset_id)
        self.owners[reset_id] = user

    @rule(number=picks)
    def claim(self, number):
        reset_id = self.pick(self.ids, number)
        claim = self.stores.resets.claim(reset_id) if reset_id else None
        if claim:
            self.claims.append([claim, False])

    @rule(number=picks)
    def mark_sending(self, number):
        entry = self.pick(self.claims, number)
        if not entry:
            return
        try:
            self.stores.mark_sending(entry[0])
        except (ClaimOverError, TooLateError):
            return
        entry[1] = True

    @rule(number=picks, outcome=outcomes, status=no_attempt, delay=st.sampled_from([0, 5, 4000]))
    def finish(self, number, outcome, status, delay):
        if not self.claims:
            return
        claim, was_sent = self.pick(self.claims, number)
        came = {"status": outcome[0], "outcome": outcome[1]} if was_sent else {"status": status}
        if not was_sent and claim.is_doubtful and status is Status.QUEUED:
            came = {"status": Status.UNKNOWN}
        self.stores.resets.finish(claim, Finish(**came, delay_seconds=delay, provider="p1"))

    @rule(number=picks)
    def lapse(self, number):
        """A lease or a pause is over."""
        reset_id = self.pick(self.ids, number)
        for queue in DUE_QUEUES:
            if reset_id and self.stores.due_at(reset_id, queue) is not None:
                self.stores.make_due(reset_id, queue)

    @rule(number=picks, seconds=st.sampled_from([-1, 300]))
    def near_the_end(self, number, seconds):
        reset_id = self.pick(self.ids, number)
        if reset_id:
            self.stores.end_in(reset_id, seconds)

    @rule(user=users)
    def wrong_code(self, user):
        try:
            self.stores.wrong_try(user)
        except TooManyRequestsError:
            return

    @rule(user=users)
    def die_while_comparing(self, user):
        try:
            self.stores.codes.begin_try(user, GUESSER)
        except TooManyRequestsError:
            return

    @rule(number=picks)
    def take(self, number):
        reset_id = self.pick(self.ids, number)
        if not reset_id:
            return
        user = self.owners[reset_id]
        token = self.stores.take(reset_id, user)
        if token:
            self.tokens.append((user, reset_id, token))

    @rule(number=picks)
    def complete(self, number):
        if not self.tokens:
            return
        user, reset_id, token = self.pick(self.tokens, number)
        notice = self.stores.notice(user)
        self.stores.codes.complete(user, reset_id=reset_id, token=token, notice=notice)
        if self.stores.resets.find(notice_id_of(notice)):
            self.ids.append(notice_id_of(notice))
            self.owners[notice_id_of(notice)] = user

    @invariant()
    def a_reset_is_due_in_one_place_until_it_is_final(self):
        for reset_id in self.ids:
            places = [q for q in DUE_QUEUES if self.stores.due_at(reset_id, q) is not None]
            reset = self.stores.resets.find(reset_id)
            assert places == ([] if reset.status.is_final else [reset.queue])

    @invariant()
    def a_record_may_vanish_only_once_it_is_final(self):
        for reset_id in self.ids:
            has_end = self.client.pttl(keys.reset(reset_id)) > 0
            assert has_end == self.stores.status(reset_id).is_final

    @invariant()
    def a_fence_never_goes_back(self):
        for reset_id in self.ids:
            fence = int(self.stores.field(reset_id, "f"))
            assert fence >= self.fences.get(reset_id, 0)
            self.fences[reset_id] = fence

    @invariant()
    def no_two_claims_have_one_fence(self):
        held = [(claim.reset.reset_id, claim.fence) for claim, _ in self.claims]
        assert len(set(held)) == len(held)

    @invariant()
    def at_most_three_codes_live_and_each_is_known(self):
        for user in USERS:
            live = self.stores.live(user)
            recent = {reset.reset_id for reset in self.stores.resets.find_of_user(user)}
            assert len(live) <= 3
            assert live <= recent <= set(self.ids)

    @invariant()
    def no_live_code_is_void(self):
        for user in USERS:
            assert all(
                self.stores.field(reset_id, "v") is None for reset_id in self.stores.live(user)
            )

    @invariant()
    def the_counters_equal_the_census(self):
        assert self.stores.counted_now() == self.stores.census()

    @invariant()
    def what_was_reached_adds_up(self):
        totals = self.stores.counters.totals()
        queued = sum(totals[f"to:{channel}:queued"] for channel in Channel)
        kinds = [self.stores.resets.find(reset_id).kind for reset_id in self.ids]
        assert queued >= len(kinds) - kinds.count(Kind.RETURNED)
        assert min(totals.values(), default=0) >= 0

    @invariant()
    def wrong_tries_are_never_more_than_five(self):
        for user in USERS:
            fields = self.stores.user(user)
            wrong, reserved = int(fields.get("w", 0)), int(fields.get("rv", 0))
            assert 0 <= wrong < 5
            assert 0 <= reserved <= 5
            assert 0 <= int(fields.get("wd", 0)) <= 20

    @invariant()
    def no_attempt_follows_two_doubts(self):
        for reset_id in self.ids:
            outcomes_seen = [a.outcome for a in self.stores.resets.find(reset_id).attempts]
            handed = [o for o in outcomes_seen if o in (Outcome.DOUBT, Outcome.ACCEPTED)]
            assert len(handed) <= 2

    @invariant()
    def everything_else_ends_by_itself(self):
        for key in self.client.scan_iter():
            if not FOR_EVER.match(key) and ":r:" not in key:
                assert self.client.pttl(key) > 0, key


@pytest.mark.real_server
def test_whatever_happens_in_whatever_order_the_promises_hold(real_redis_url):
    machine = type("Machine", (ResetMachine,), {"url": real_redis_url})

    run(machine, settings=SPEED)

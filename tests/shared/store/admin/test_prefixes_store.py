"""The guard of SMS in the gate: what trips, what is refused, what opens again; operators' words."""

from __future__ import annotations

import time

import pytest

from shared.errors import SmsSuspiciousError, TooManyRequestsError
from shared.guard.rules import Guarded, counted_of, prefixes_of
from shared.store import keys
from shared.store.admin.prefixes import PrefixStore
from shared.store.limits import Limit, LimitStore

STOP = {"velocity": "stop", "source": "off", "conversion": "off"}
OFF = dict.fromkeys(STOP, "off")


class Gate:
    """The gate as an SMS passes it."""

    def __init__(self, client):
        self.client = client
        self.limits, self.prefixes = LimitStore(client), PrefixStore(client)

    def guarded(self, phone, *, levels=STOP, source="", is_judged=True):
        found = prefixes_of(phone)
        return Guarded(
            recipient_digest=f"digest of {phone}",
            prefixes=found,
            counted=counted_of(found) if is_judged else (),
            source=source,
            levels=levels,
            numbers=12,
            lifetime_seconds=600,
        )

    def send(self, phone, *limits, reset_id=None, **fields):
        self.limits.pass_gate(
            limits,
            recipient_digest="",
            version=-1,
            reset_id=reset_id or f"r{phone}",
            guarded=self.guarded(phone, **fields),
        )

    def use(self, phone):
        self.prefixes.note_used(f"digest of {phone}", phone)

    def sent_until_refused(self, phones, **fields):
        for number, phone in enumerate(phones):
            try:
                self.send(phone, **fields)
            except SmsSuspiciousError as error:
                return number, error
        return len(phones), None

    def states(self):
        return {state.prefix: state for state in self.prefixes.list_states()}

    def set_past(self, prefix, *, sent, used, recent=(0, 0)):
        figures = {"b": int(time.time() // 600), "S": sent, "U": used}
        figures |= {"s": recent[0], "u": recent[1]}
        self.client.hset(keys.sms_subject(prefix), mapping=figures)


@pytest.fixture
def gate(client):
    return Gate(client)


def in_a_row(start, count=40):
    return [f"{start}{number:04}" for number in range(count)]


def spread(count=40):
    """Numbers of one country that share no further digits, or few."""
    return [f"+62{10 + number % 80}{number % 97:02}5550{number:03}" for number in range(count)]


def test_numbers_in_a_row_are_stopped_by_their_prefix(gate):
    sent, error = gate.sent_until_refused(in_a_row("+88017123"))

    assert sent == 6
    assert (error.rule, error.about) == ("velocity", "+8801712")


def test_numbers_all_over_a_country_are_stopped_by_its_code(gate):
    sent, error = gate.sent_until_refused(spread())

    assert sent == 12
    assert (error.rule, error.about) == ("velocity", "+62")


def test_other_countries_are_written_to_meanwhile(gate):
    gate.sent_until_refused(spread())

    gate.send("+41791234567")

    assert "+41" not in gate.states()


def test_the_same_number_counts_once(gate):
    for number in range(30):
        gate.send("+8801712345678", reset_id=f"r{number}")

    assert gate.states() == {}


def test_used_codes_make_room(gate):
    for phone in spread():
        gate.send(phone)
        gate.use(phone)

    assert gate.states() == {}


def test_a_code_counts_as_used_once(gate):
    gate.send("+8801712345678")
    gate.use("+8801712345678")
    gate.use("+8801712345678")

    found = gate.client.hgetall(keys.sms_subject("+880"))

    assert {int(n) for field, n in found.items() if field[0] == "u" and field != "u"} == {1}


def test_a_code_of_another_number_is_no_used_one(gate):
    gate.use("+8801712345678")

    assert not gate.client.exists(keys.sms_subject("+880"))


def test_the_past_of_used_codes_raises_the_threshold(gate):
    for prefix in ("+62", *{counted_of(prefixes_of(phone))[1] for phone in spread()}):
        gate.set_past(prefix, sent=8400, used=8400)

    sent, error = gate.sent_until_refused(spread())

    assert (sent, error) == (40, None)


def test_what_was_sent_in_vain_raises_no_threshold(gate):
    gate.set_past("+62", sent=8400, used=0)

    assert gate.sent_until_refused(spread())[0] == 12


def test_a_stop_ends_early_when_the_codes_are_used_after_all(gate):
    phones = spread(20)
    sent, error = gate.sent_until_refused(phones)
    assert error

    for phone in phones[:sent]:
        gate.use(phone)

    gate.send(phones[-1])
    assert gate.states() == {}


def test_watching_refuses_nothing(gate):
    watch = {"velocity": "watch", "source": "off", "conversion": "off"}

    assert gate.sent_until_refused(in_a_row("+88017123"), levels=watch) == (40, None)

    state = gate.states()["+8801712"]
    assert (state.rule, state.level, state.refused, state.by) == ("velocity", "watch", 0, "rule")


def test_slowing_lets_one_through_and_then_asks_to_wait_longer(gate):
    slow = {"velocity": "slow", "source": "off", "conversion": "off"}
    phones = in_a_row("+88017123")
    for phone in phones[:7]:
        gate.send(phone, levels=slow)

    with pytest.raises(TooManyRequestsError) as caught:
        gate.send(phones[7], levels=slow)

    assert caught.value.limit == "sms_slow"
    assert 0 < caught.value.retry_after_seconds <= 60
    subject = keys.sms_subject("+8801712")
    gate.client.hset(subject, "next", 0)
    gate.send(phones[7], levels=slow)
    assert float(gate.client.hget(subject, "gap")) == 120_000


def test_a_second_stop_lasts_longer_and_comes_sooner(gate):
    phones = spread()
    gate.sent_until_refused(phones)
    first = gate.states()["+62"]
    gate.client.hset(keys.sms_subject("+62"), "ends", 0)
    for field in gate.client.hgetall(keys.sms_subject("+62")):
        if field[0] == "s" and field[1:].isdecimal():
            gate.client.hdel(keys.sms_subject("+62"), field)  # an hour later

    sent, _ = gate.sent_until_refused(phones[20:])

    assert sent == 6
    second = gate.states()["+62"]
    assert (second.until - second.since) > 5 * (first.until - first.since)


def test_one_source_that_asks_for_many_is_found(gate):
    levels = OFF | {"source": "stop"}

    sent, error = gate.sent_until_refused(spread(), levels=levels, source="t1")

    assert sent == 24
    assert (error.rule, error.about) == ("source", "source t1")
    gate.send("+41791234567", levels=levels, source="t2")


def test_the_codes_of_a_source_count_as_used_for_it(gate):
    levels = OFF | {"source": "stop"}
    for phone in spread():
        gate.send(phone, levels=levels, source="page 0123")
        gate.use(phone)

    assert gate.states() == {}


def test_conversion_far_below_its_past_is_found(gate):
    gate.set_past("+62", sent=1000, used=800, recent=(40, 4))
    levels = OFF | {"conversion": "stop"}

    with pytest.raises(SmsSuspiciousError) as caught:
        gate.send("+6281234567890", levels=levels)

    assert (caught.value.rule, caught.value.about) == ("conversion", "+62")
    assert gate.states()["+62"].past_conversion == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("past", "recent"),
    [((1000, 800), (40, 30)), ((1000, 800), (6, 0)), ((1000, 100), (40, 4)), ((0, 0), (8, 0))],
    ids=["as-ever", "too-few", "always-so", "new"],
)
def test_conversion_within_its_past_is_not(gate, past, recent):
    gate.set_past("+62", sent=past[0], used=past[1], recent=recent)

    gate.send("+6281234567890", levels=OFF | {"conversion": "stop"})

    assert gate.states() == {}


def test_a_watched_conversion_does_not_hide_velocity(gate):
    gate.set_past("+62", sent=1000, used=800, recent=(40, 4))
    levels = STOP | {"conversion": "watch"}
    for prefix in ("+6281", "+628123"):
        gate.set_past(prefix, sent=10_000, used=10_000)

    sent, error = gate.sent_until_refused(in_a_row("+628123"), levels=levels)

    assert (sent, error.rule, error.about) == (12, "velocity", "+62")


def test_ended_buckets_become_the_past(gate):
    subject, bucket = keys.sms_subject("+62"), int(time.time() // 600)
    gate.client.hset(
        subject, mapping={"b": bucket - 20, f"s{bucket - 20}": 10, f"u{bucket - 20}": 7}
    )

    gate.send("+6281234567890")

    found = gate.client.hgetall(subject)
    assert f"s{bucket - 20}" not in found
    assert (float(found["S"]), float(found["U"])) == (10, 7)


def test_a_block_stops_and_an_allowed_prefix_below_it_passes(gate):
    gate.prefixes.name("+880", "block", by="eve", reason="a test", seconds=None)
    gate.prefixes.name("+88019", "allow", by="eve", reason="a partner", seconds=60)

    with pytest.raises(SmsSuspiciousError) as caught:
        gate.send("+8801712345678", levels=OFF)

    assert (caught.value.rule, caught.value.about, caught.value.until) == ("block", "+880", None)
    assert gate.sent_until_refused(in_a_row("+88019123")) == (40, None)


def test_a_block_ends_by_itself(gate):
    gate.prefixes.name("+880", "block", by="eve", reason="a test", seconds=0.01)
    time.sleep(0.02)

    gate.send("+8801712345678")

    assert gate.prefixes.list_states() == []


def test_what_is_lifted_is_over(gate):
    gate.sent_until_refused(in_a_row("+88017123"))

    assert gate.prefixes.lift("+8801712")
    assert not gate.prefixes.lift("+8801712")
    assert gate.states() == {}


def test_batches_are_not_judged_and_teach_nothing(gate):
    assert gate.sent_until_refused(in_a_row("+88017123"), is_judged=False) == (40, None)

    assert not gate.client.exists(keys.sms_subject("+880"))


def test_a_full_budget_counts_nothing_for_the_guard(gate):
    full = Limit("sms_country", "BD", 1, 3600, amount=2)

    with pytest.raises(TooManyRequestsError) as caught:
        gate.send("+8801712345678", full)

    assert caught.value.limit == "sms_country"
    assert caught.value.retry_after_seconds == 3600
    assert not gate.client.exists(keys.sms_mark("digest of +8801712345678"))


def test_a_budget_of_money_counts_amounts_and_gives_them_back(gate):
    money = Limit("sms_country", "BD", 100, 3600, amount=40)
    gate.send("+8801712345678", money, reset_id="r1")
    gate.send("+8801712345679", money, reset_id="r2")
    with pytest.raises(TooManyRequestsError):
        gate.send("+8801712345670", money)

    gate.limits.give_back([money], reset_id="r2", guarded=gate.guarded("+8801712345679"))

    gate.send("+8801712345670", money)
    found = gate.client.hgetall(keys.sms_subject("+880"))
    assert [n for field, n in found.items() if field[1:].isdecimal()] == ["2"]


def test_no_number_is_stored(gate):
    gate.send("+8801712345678", source="t1")

    stored = [key for key in gate.client.keys("*") if "1712345" in key.replace("digest of", "")]

    assert [key for key in stored if "smsto" not in key] == []

"""The circuit of a provider: when it opens, who may probe, when it closes; on both servers."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from shared.store import keys
from shared.store.admin.circuits import CallTally, CircuitRules, CircuitState, CircuitStore

OPEN, HALF_OPEN, CLOSED = CircuitState.OPEN, CircuitState.HALF_OPEN, CircuitState.CLOSED
BAD = CallTally(bad=1, reason="http_503")
ROUTE = CallTally(bad=1, account=1, reason="twilio_21612")
OUTAGE = CallTally(bad=1, account=1, is_outage=True, reason="http_401")
RULES = CircuitRules()


def circuits_of(client, **rules):
    return CircuitStore(client, replace(RULES, **rules))


def state_of(circuits, provider="p1"):
    return circuits.read([provider])[provider].state


def opened_and_waited(client, **rules):
    """A circuit that was open and may be probed now."""
    circuits = circuits_of(client, open_seconds=0.05, **rules)
    circuits.record("p1", OUTAGE)
    time.sleep(0.06)
    return circuits


def probe(circuits, holder, **told):
    """Take the probe and tell what came of it."""
    granted, _ = circuits.take_probe("p1", holder, lease_seconds=10)
    assert granted
    return circuits.record("p1", CallTally(holder=holder, **told))


def test_a_provider_nobody_has_called_is_closed(client):
    circuit = circuits_of(client).read(["p1"])["p1"]

    assert (circuit.state, circuit.error_rate, circuit.wait_seconds) == (CLOSED, 0, 0)
    assert client.keys("*circuit*") == []


@pytest.mark.parametrize(
    ("good", "bad", "expected"),
    [(0, 19, CLOSED), (0, 20, OPEN), (10, 10, CLOSED), (10, 11, OPEN), (980, 20, CLOSED)],
)
def test_it_opens_when_more_than_half_of_twenty_or_more_are_bad(client, good, bad, expected):
    circuits = circuits_of(client)
    circuits.record("p1", CallTally(good=good))

    for _ in range(bad):
        circuit = circuits.record("p1", BAD)

    assert circuit.state is expected
    assert (circuit.calls, circuit.failures) == (good + bad, bad)


def test_trouble_of_the_whole_account_opens_it_at_once(client):
    circuits = circuits_of(client)
    circuits.record("p1", CallTally(good=1000))

    circuit = circuits.record("p1", OUTAGE)

    assert (circuit.state, circuit.reason, circuit.has_changed) == (OPEN, "http_401", True)
    assert circuit.opened_at is not None
    assert 14 < circuit.wait_seconds <= 15


def test_trouble_with_one_route_opens_it_the_fifth_time_in_a_row(client):
    circuits = circuits_of(client)

    states = [circuits.record("p1", ROUTE).state for _ in range(5)]

    assert states == [CLOSED] * 4 + [OPEN]


def test_a_good_call_ends_the_row(client):
    circuits = circuits_of(client)
    for _ in range(4):
        circuits.record("p1", ROUTE)

    circuits.record("p1", CallTally(good=1))

    assert circuits.record("p1", ROUTE).state is CLOSED


def test_what_is_older_than_the_window_does_not_count(client):
    circuits = circuits_of(client, window_seconds=0.2)
    for _ in range(19):
        circuits.record("p1", BAD)
    time.sleep(0.25)

    circuit = circuits.record("p1", BAD)

    assert (circuit.state, circuit.calls) == (CLOSED, 1)
    assert len(client.hkeys(keys.circuit("p1"))) == 1


def test_providers_do_not_share_a_circuit(client):
    circuits = circuits_of(client)

    circuits.record("p1", OUTAGE)

    assert state_of(circuits, "p2") is CLOSED


def test_nobody_probes_while_it_is_open(client):
    circuits = circuits_of(client)
    circuits.record("p1", OUTAGE)

    granted, circuit = circuits.take_probe("p1", "r1", lease_seconds=10)

    assert not granted
    assert circuit.wait_seconds > 10


def test_one_probes_at_a_time(client):
    circuits = opened_and_waited(client)

    first, _ = circuits.take_probe("p1", "r1", lease_seconds=10)
    second, circuit = circuits.take_probe("p1", "r2", lease_seconds=10)
    again, _ = circuits.take_probe("p1", "r1", lease_seconds=10)

    assert (first, second, again) == (True, False, True)
    assert circuit.state is HALF_OPEN
    assert circuit.wait_seconds > 5


def test_a_probe_whose_holder_died_is_free_again(client):
    circuits = opened_and_waited(client)
    circuits.take_probe("p1", "r1", lease_seconds=0.05)
    time.sleep(0.06)

    assert circuits.take_probe("p1", "r2", lease_seconds=10)[0]


def test_a_probe_that_did_not_take_place_is_given_back(client):
    circuits = opened_and_waited(client)
    circuits.take_probe("p1", "r1", lease_seconds=10)

    circuits.release_probe("p1", "r1")

    assert circuits.take_probe("p1", "r2", lease_seconds=10)[0]


def test_nobody_gives_back_the_probe_of_another(client):
    circuits = opened_and_waited(client)
    circuits.take_probe("p1", "r1", lease_seconds=10)

    circuits.release_probe("p1", "r2")

    assert not circuits.take_probe("p1", "r2", lease_seconds=10)[0]


def test_three_good_probes_close_it(client):
    circuits = opened_and_waited(client)

    told = [probe(circuits, f"r{number}", good=1) for number in range(3)]

    assert [each.state for each in told] == [HALF_OPEN, HALF_OPEN, CLOSED]
    assert told[-1].has_changed
    assert (told[-1].calls, told[-1].reason, told[-1].opened_at) == (0, None, None)


def test_the_same_good_probe_told_twice_counts_once(client):
    circuits = opened_and_waited(client)
    circuits.take_probe("p1", "r1", lease_seconds=10)

    for _ in range(4):
        circuits.record("p1", CallTally(good=1, holder="r1"))

    assert state_of(circuits) is HALF_OPEN


def test_calls_that_were_under_way_do_not_close_it(client):
    circuits = opened_and_waited(client)

    circuits.record("p1", CallTally(good=500))

    assert state_of(circuits) is HALF_OPEN


def test_a_bad_probe_opens_it_for_twice_as_long_up_to_a_limit(client):
    circuits = opened_and_waited(client, max_open_seconds=0.15)
    opened_at = circuits.read(["p1"])["p1"].opened_at

    waits = []
    for number in range(3):
        circuit = probe(circuits, f"r{number}", bad=1, reason="http_500")
        waits.append(circuit.wait_seconds)
        time.sleep(circuit.wait_seconds + 0.01)

    assert waits == pytest.approx([0.1, 0.15, 0.15], abs=0.01)
    assert (circuit.reason, circuit.opened_at) == ("http_500", opened_at)


def test_one_bad_probe_undoes_the_good_ones_before(client):
    circuits = opened_and_waited(client)
    probe(circuits, "r1", good=1)
    probe(circuits, "r2", good=1)
    circuit = probe(circuits, "r3", bad=1)
    time.sleep(circuit.wait_seconds + 0.01)

    assert probe(circuits, "r4", good=1).state is HALF_OPEN


def test_what_failed_before_it_closed_does_not_open_it_again(client):
    circuits = opened_and_waited(client)
    circuits.record("p1", replace(BAD, bad=30))
    for number in range(3):
        probe(circuits, f"r{number}", good=1)

    assert circuits.record("p1", BAD).state is CLOSED


def test_an_operator_lets_it_be_tried_at_once(client):
    circuits = circuits_of(client)
    circuits.record("p1", OUTAGE)

    assert circuits.allow_probe("p1").state is HALF_OPEN
    assert circuits.take_probe("p1", "r1", lease_seconds=10)[0]
    assert circuits.allow_probe("p2").state is CLOSED


def test_the_last_switch_is_told_with_its_reason(client):
    circuits = circuits_of(client)

    circuits.record_all({"p1": CallTally(switch=("p2", "circuit_open")), "p2": CallTally(good=1)})

    told = circuits.read(["p1", "p2"])
    assert (told["p1"].last_switch.to, told["p1"].last_switch.reason) == ("p2", "circuit_open")
    assert told["p2"].last_switch is None
    assert told["p2"].calls == 1


def test_a_circuit_nobody_speaks_of_is_forgotten_within_a_day(client):
    circuits_of(client).record("p1", BAD)

    assert 0 < client.ttl(keys.circuit("p1")) <= 86400


def test_a_provider_that_has_no_other_beside_it_is_tried_again_soon(client):
    circuits = CircuitStore(
        client, replace(RULES, max_sole_seconds=0.05), sole_providers=frozenset({"p1"})
    )
    circuits.record("p1", OUTAGE)
    time.sleep(0.06)

    circuit = probe(circuits, "r1", bad=1, reason="http_401")

    assert circuit.state is OPEN
    assert circuit.wait_seconds <= 0.05

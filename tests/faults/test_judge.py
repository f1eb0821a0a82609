"""The judge of the fault run sees every broken promise, and none where all were kept."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from faults.callers import Accepted
from faults.evidence import TOLD_LATER, WORKER_DIED, Evidence, Line
from faults.judge import judge
from faults.people import Group, Person

CODE = "ABCD-EFGH"
DEADLINE_MS = 1_000_000.0


def a_person(group=Group.GOOD, channel="email") -> Person:
    return Person(7, group, channel)


def a_line(**over) -> Line:
    fields = {
        "at": 500.0, "provider": "sendgrid", "reset_id": "r1", "to": a_person().address,
        "code": CODE, "fault": "", "message_id": "<r1@keyturn.example>",
    }  # fmt: skip
    return Line(**(fields | over))


def a_record(status="accepted", *attempts, **over) -> dict[str, str]:
    fields = {
        "st": status,
        "x": f"{DEADLINE_MS:.0f}",
        "db": "0",
        "f": "3",
        "at": str(len(attempts)),
    }
    for number, detail in enumerate(attempts, 1):
        fields[f"a{number}"] = json.dumps(["sendgrid", 1, 2, "doubt", "", detail])
    return fields | over


def some_evidence(*lines, person=None, record=None, due=(), refused=(), accepted=None) -> Evidence:
    call = Accepted("r1", person or a_person(), 400.0, 2.0, 1)
    return Evidence(
        lines=lines,
        accepted=[call] if accepted is None else accepted,
        refused=refused,
        records={"r1": record or a_record()},
        due=frozenset(due),
        codes={"r1": CODE},
    )


def broken(evidence: Evidence) -> set[str]:
    return {finding.name for finding in judge(evidence) if finding.resets}


def test_nothing_is_broken_when_the_one_message_arrived():
    assert broken(some_evidence(a_line())) == set()


@pytest.mark.parametrize(
    ("evidence", "promise"),
    [
        (some_evidence(), "lost"),
        (some_evidence(a_line(), accepted=[]), "wrong"),
        (some_evidence(a_line(to="somebody@else.example")), "wrong"),
        (some_evidence(a_line(), person=a_person(Group.REFUSED)), "wrong"),
        (some_evidence(a_line(at=1000.5)), "late"),
        (some_evidence(a_line(), a_line()), "doubled_email"),
        (some_evidence(a_line(), a_line(code="ZZZZ-ZZZZ", fault="cut")), "changed"),
        (some_evidence(a_line(), a_line(message_id="<r2>", fault="cut")), "changed"),
        (some_evidence(a_line(code="ZZZZ-ZZZZ")), "changed"),
        (some_evidence(*[a_line(fault="cut")] * 3), "thrice"),
        (some_evidence(a_line(), record=a_record("sending"), due=["r1"]), "unfinished"),
        (some_evidence(a_line(), due=["r1"]), "unfinished"),
        (some_evidence(a_line(), record=a_record("unknown", db="2")), "unfinished"),
        (some_evidence(a_line(), record=a_record("failed")), "untrue"),
        (some_evidence(record=a_record("accepted")), "untrue"),
        (some_evidence(a_line(), record=a_record("accepted", "", "", f="1")), "untrue"),
        (some_evidence(person=a_person(Group.STUBBORN), record=a_record("failed")), "untrue"),
        (some_evidence(person=a_person(Group.POISON), record=a_record("expired")), "spared"),
        (some_evidence(a_line(), refused=[(a_person(), 400, "")]), "turned_away"),
        (some_evidence(person=a_person(Group.UNASKABLE), record=a_record("failed")), "turned_away"),
    ],
)  # fmt: skip
def test_a_broken_promise_is_seen(evidence, promise):
    assert promise in broken(evidence)


@pytest.mark.parametrize(
    "evidence",
    [
        some_evidence(a_line(fault="hang"), a_line()),
        some_evidence(a_line(), a_line(), record=a_record("accepted", WORKER_DIED, "")),
        some_evidence(a_line(), a_line(), record=a_record("delivered", TOLD_LATER, "")),
    ],
    ids=["the provider was cut short", "its worker died in the call", "and a report told the rest"],
)
def test_a_second_mail_is_excused_when_nobody_could_know_of_the_first(evidence):
    assert broken(evidence) == set()


def test_a_report_that_was_noted_and_not_applied_is_seen():
    evidence = replace(some_evidence(a_line()), told=frozenset({"r1"}))

    assert broken(evidence) == {"unheard"}
    assert broken(replace(evidence, records={"r1": a_record("delivered")})) == set()


def test_a_second_mail_has_no_excuse_where_processes_were_stopped_in_order():
    evidence = some_evidence(a_line(), a_line(), record=a_record("accepted", WORKER_DIED, ""))

    assert broken(replace(evidence, may_double=False)) == {"doubled_email"}


def test_a_second_sms_has_no_excuse_for_the_provider_can_be_asked():
    person = a_person(channel="sms")
    line = a_line(provider="twilio", to=person.address, fault="cut")

    evidence = some_evidence(line, replace(line, fault=""), person=person)

    assert broken(evidence) == {"doubled_sms"}


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (a_record("unknown", WORKER_DIED, WORKER_DIED, db="2"), set()),
        (a_record("unknown", WORKER_DIED, db="1"), {"lost", "unfinished"}),
    ],
)
def test_two_deaths_before_the_socket_are_doubt_and_one_is_loss(record, expected):
    assert broken(some_evidence(record=record, due=["r1"])) == expected


def test_what_is_in_doubt_twice_may_stay_open_until_its_deadline():
    evidence = some_evidence(
        a_line(fault="cut"), a_line(fault="cut"), record=a_record("unknown", db="2"), due=["r1"]
    )

    assert broken(evidence) == set()


@pytest.mark.parametrize(
    ("group", "record"),
    [
        (Group.REFUSED, a_record("failed")),
        (Group.STUBBORN, a_record("expired")),
        (Group.POISON, a_record("failed", rs="poison")),
    ],
)
def test_what_must_not_be_sent_ends_as_it_should(group, record):
    assert broken(some_evidence(person=a_person(group), record=record)) == set()

"""`keyturn reset`, `explain`, `status` and `suppression`, as an operator types them."""

from __future__ import annotations

import json
import subprocess

import pytest

pytestmark = pytest.mark.real_server


def printed(done: subprocess.CompletedProcess[str]):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_reset_that_was_sent_for_is_explained(run, services):
    sent = printed(run("reset", "send", "ada", "--json"))

    told = printed(run("explain", "--reset", sent["resetId"], "--json"))

    assert told["verdict"].startswith("It has been waiting in the urgent queue")
    assert told["resets"][0]["recipient"] == "a***@example.com"
    assert services.resets.find(sent["resetId"]).user_id == "ada"


def test_the_resets_of_an_address_are_explained_newest_first(run):
    first = printed(run("reset", "send", "ada", "--type", "email", "--json"))["resetId"]
    refused = run("reset", "send", "ada", "--type", "sms", "--json")

    told = printed(run("explain", "--address", "ada@example.com", "--json"))

    assert refused.returncode == 1
    assert "cooldown" in refused.stderr
    assert [each["resetId"] for each in told["resets"]] == [first]


def test_a_user_without_a_request_gets_a_verdict_too(run):
    told = printed(run("explain", "--user", "ada", "--json"))

    assert told["verdict"].startswith("No request for this user reached Keyturn")
    assert told["resets"] == []


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (("explain", "--user", "nobody"), 1, "there is no user"),
        (("explain", "--address", "nobody@example.com"), 1, "no user in the directory"),
        (("explain",), 2, "give one of"),
        (("explain", "--user", "ada", "--reset", "x"), 2, "give one of"),
        (("reset", "send", "nobody"), 1, "User could not be found"),
        (("reset", "send", "ada", "--type", "pigeon"), 2, "pigeon"),
        (("suppression", "lift", "ada@example.com", "--reason", "x"), 1, "is not suppressed"),
        (("suppression", "add", "banana", "--reason", "x"), 1, "must be a phone number"),
        (("suppression", "add", "ada@example.com"), 2, "--reason"),
    ],
)
def test_what_cannot_be_done_is_said(run, arguments, status, reason):
    done = run(*arguments)

    assert done.returncode == status
    assert reason in done.stderr
    assert "Traceback" not in done.stderr


def test_a_voided_reset_is_over_and_says_who_ended_it(run, services):
    reset_id = printed(run("reset", "send", "ada", "--json"))["resetId"]
    why = ("--reason", "a stolen phone", "--by", "eve", "--json")

    told = printed(run("reset", "void", reset_id, *why))

    assert told == {"voided": [reset_id], "by": "eve", "reason": "a stolen phone"}
    assert (
        "an operator voided it at"
        in printed(run("explain", "--reset", reset_id, "--json"))["verdict"]
    )
    again = run("reset", "void", reset_id, *why)
    assert again.returncode == 1
    assert "it is over already (voided by operator)" in again.stderr
    refused, done, _ = services.audit.newest()
    assert {refused.act.action, done.act.action} == {"reset.void"}
    assert done.outcome == "done"
    assert refused.outcome.startswith("refused: ")


def test_every_code_of_a_user_is_voided_together(run, services):
    none = run("reset", "void", "--user", "ada", "--reason", "x")
    fresh = {"KEYTURN_USER_COOLDOWN_SECONDS": "0", "KEYTURN_SMS_COUNTRIES": "CH"}
    ids = [printed(run("reset", "send", "ada", "--type", channel, "--json", **fresh))["resetId"]
           for channel in ("email", "sms")]  # fmt: skip

    told = printed(run("reset", "void", "--user", "ada", "--reason", "x", "--json"))

    assert sorted(told["voided"]) == sorted(ids)
    assert {services.resets.find(each).reason for each in ids} == {"code_voided_by_operator"}
    assert none.returncode == 1
    assert "no code of this user works" in none.stderr
    acts = [entry.act.action for entry in services.audit.newest()]
    assert acts == ["reset.void"] * 2 + ["reset.send"] * 2


@pytest.mark.parametrize("arguments", [(), ("x", "--user", "ada")])
def test_voiding_wants_a_reset_or_a_user(run, arguments):
    done = run("reset", "void", *arguments, "--reason", "x")

    assert done.returncode == 2
    assert "give a reset's ID or --user" in done.stderr


def test_the_status_names_what_is_wrong_first(run):
    run("reset", "send", "ada")

    fields = printed(run("status", "--json"))
    words = run("status").stdout

    assert fields["due"] == {"urgent": 1, "bulk": 0}
    assert fields["oldestDueSeconds"] > 0
    assert fields["workers"] == {"urgent": 0, "bulk": 0, "receipts": 0, "webhooks": 0}
    assert words.startswith("No worker of the urgent queue was seen")


def test_a_suppressed_address_is_written_to_again_once_it_is_lifted(run):
    printed(run("suppression", "add", "Ada@example.com", "--reason", "asked us to", "--json"))

    refused = run("reset", "send", "ada")
    listed = printed(run("suppression", "list", "--json"))
    lifted = run("suppression", "lift", "ada@example.com", "--reason", "asked again", "--by", "eve")
    sent = run("reset", "send", "ada")

    assert "suppressed" in refused.stderr
    assert [each["reason"] for each in listed] == ["asked us to"]
    assert lifted.returncode == 0
    acts = printed(run("audit", "--json"))
    assert (acts[1]["by"], acts[1]["action"]) == ("eve", "suppression.lift")
    assert "ada@example.com" not in lifted.stderr + lifted.stdout
    assert sent.returncode == 0, sent.stderr
    assert printed(run("suppression", "list", "--json")) == []


def test_lifting_may_send_again_in_one_act(run, services):
    printed(run("suppression", "add", "ada@example.com", "--reason", "bounced", "--json"))

    told = printed(
        run("suppression", "lift", "ada@example.com", "--reason", "back", "--resend", "--json")
    )
    again = run("suppression", "lift", "ada@example.com", "--reason", "back", "--resend")

    (resent,) = told["resent"]
    assert services.resets.find(resent["resetId"]).user_id == "ada"
    assert resent["refusal"] is None
    assert again.returncode == 1
    assert "is not suppressed" in again.stderr
    assert [entry.act.action for entry in services.audit.newest()] == [
        "suppression.lift_and_resend",
        "suppression.add",
    ]

"""`keyturn pause`, `resume`, `limit clear`, `audit` as an operator types them."""

from __future__ import annotations

import json

import pytest

from shared.store.admin.pauses import Scope

pytestmark = pytest.mark.real_server
WHY = ("--reason", "a test", "--by", "eve")


def printed(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_pause_holds_until_it_is_resumed(run, services):
    told = printed(run("pause", "organisation", "acme", *WHY, "--json"))

    assert told == {
        "scope": "organisation", "name": "acme", "by": "eve", "reason": "a test", "wasPaused": False
    }  # fmt: skip
    assert [each.name for each in services.pauses.all()] == ["acme"]

    told = printed(run("resume", "organisation", "acme", "--rate", "50", *WHY, "--json"))

    assert told["wasPaused"]
    assert services.pauses.all() == []
    (release,) = services.pauses.releases()
    assert (release.scope, release.name, release.per_second) == (Scope.ORGANISATION, "acme", 50)


def test_every_lever_leaves_who_and_why(run):
    reset_id = printed(run("reset", "send", "ada", "--json"))["resetId"]
    run("pause", "channel", "sms", *WHY)
    run("resume", "channel", "sms", *WHY)
    run("limit", "clear", "--user", "ada", *WHY)
    run("limit", "clear", "--org", "acme", *WHY)
    run("limit", "clear", "--caller", "abc", *WHY)
    run("limit", "clear", "--sms-budget", *WHY)
    run("reset", "hold", reset_id, *WHY)
    run("reset", "release", reset_id, *WHY)

    told = printed(run("audit", "--json"))

    assert [(each["action"], each["target"]) for each in reversed(told)] == [
        ("reset.send", "ada"),
        ("channel.pause", "sms"),
        ("channel.resume", "sms"),
        ("limit.clear", "user ada"),
        ("limit.clear", "organisation acme"),
        ("limit.clear", "caller abc"),
        ("limit.clear", "sms_budget"),
        ("reset.hold", reset_id),
        ("reset.release", reset_id),
    ]
    assert {(each["by"], each["reason"]) for each in told[:-1]} == {("eve", "a test")}
    assert "reset.hold" in run("audit", "--most", "2").stdout


def test_a_cleared_user_may_ask_again_at_once(run):
    run("reset", "send", "ada")
    assert "cooldown" in run("reset", "send", "ada").stderr

    assert printed(run("limit", "clear", "--user", "ada", *WHY, "--json"))["wasCounted"]

    assert run("reset", "send", "ada").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (("pause", "queue", "slow", *WHY), 1, "there is no queue 'slow'; there are urgent, bulk"),
        (("pause", "channel", "pigeon", *WHY), 1, "there are email, sms"),
        (("pause", "provider", "sendgrid", *WHY), 1, "there are outbox"),
        (("pause", "organisation", "nowhere", *WHY), 1, "there is no organisation 'nowhere'"),
        (("resume", "organisation", "nowhere", *WHY), 1, "there is no organisation"),
        (("pause", "planet", "earth", *WHY), 2, "planet"),
        (("pause", "queue", "bulk"), 2, "--reason"),
        (("pause", "queue", "bulk", "--reason", " "), 1, "reason must have 1 to 500"),
        (("resume", "queue", "bulk", "--rate", "0", *WHY), 2, "--rate"),
        (("limit", "clear", *WHY), 2, "give one of"),
        (("limit", "clear", "--user", "a", "--org", "b", *WHY), 2, "give one of"),
        (("limit", "clear", "--user", "nobody", *WHY), 1, "there is no user 'nobody'"),
        (("reset", "hold", "nothing", *WHY), 1, "there is no "),
        (("audit", "--most", "0"), 2, "--most"),
    ],
)
def test_what_cannot_be_done_is_said(run, arguments, status, reason):
    done = run(*arguments)

    assert done.returncode == status
    assert reason in done.stderr
    assert "Traceback" not in done.stderr


def test_only_what_is_held_can_be_released(run):
    reset_id = printed(run("reset", "send", "ada", "--json"))["resetId"]

    done = run("reset", "release", reset_id, *WHY)

    assert done.returncode == 1
    assert "is not held" in done.stderr

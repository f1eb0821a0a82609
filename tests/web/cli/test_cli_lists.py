"""`keyturn user list`, `keyturn reset list`, unknown ids, and what each process loads."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests import CHECKOUT
from tests.support.builders import a_user, an_organisation

pytestmark = pytest.mark.real_server

UNKNOWN = {
    "hold": ("reset", "hold", "r-none", "--reason", "x"),
    "release": ("reset", "release", "r-none", "--reason", "x"),
    "void": ("reset", "void", "r-none", "--reason", "x"),
    "resend": ("reset", "resend", "r-none", "--reason", "x"),
    "explain": ("explain", "--reset", "r-none"),
    "plan": ("batch", "start", "--plan", "none", "--reason", "x"),
    "pause": ("batch", "pause", "none", "--reason", "x"),
    "report": ("batch", "report", "none"),
    "user": ("user", "show", "none"),
    "organisation": ("user", "list", "--org", "none"),
}


def rows(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_users_are_listed_by_organisation_with_masked_addresses(run, services):
    an_organisation(services, "beta")
    a_user(services, "bob", orgId="beta")

    both = rows(run("user", "list", "--json"))
    mine = rows(run("user", "list", "--org", "beta", "--json"))
    table = run("user", "list")

    assert {each["userId"] for each in both} == {"ada", "bob"}
    assert [each["userId"] for each in mine] == ["bob"]
    assert "a***@example.com" in table.stdout
    assert "ada@example.com" not in table.stdout


def test_a_list_of_users_says_that_there_are_more(run, services):
    a_user(services, "bob")

    assert "There are more" in run("user", "list", "--limit", "1").stdout
    assert "There are more" not in run("user", "list", "--limit", "2").stdout


def test_resets_are_listed_newest_first_and_filtered(run, services):
    a_user(services, "bob")
    sent = [rows(run("reset", "send", who, "--json"))["resetId"] for who in ("ada", "bob")]

    assert [each["resetId"] for each in rows(run("reset", "list", "--json"))] == sent[::-1]
    assert [e["userId"] for e in rows(run("reset", "list", "--user", "ada", "--json"))] == ["ada"]
    assert rows(run("reset", "list", "--status", "failed", "--json")) == []
    assert len(rows(run("reset", "list", "--since", "1h", "--json"))) == 2
    assert rows(run("reset", "list", "--org", "other", "--json")) == []
    assert "a***@example.com" in run("reset", "list").stdout
    assert "There are no such resets." in run("reset", "list", "--user", "nobody").stdout


@pytest.mark.parametrize("arguments", UNKNOWN.values(), ids=UNKNOWN)
def test_an_unknown_id_is_answered_with_a_sentence(run, arguments):
    done = run(*arguments)

    assert done.returncode == 1
    assert "there is no " in done.stderr
    assert "Not Found" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("reset", "list", "--limit", "0"),
        ("reset", "list", "--status", "gone"),
        ("user", "list", "x"),
        ("batch", "start", "--rate", "many"),
        ("nothing",),
    ],
)
def test_wrong_use_is_exit_status_2(run, arguments):
    assert run(*arguments).returncode == 2


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("web.cli", {"shared", "structlog", "rich", "redis"}),
        ("web.cli.admin", {"celery", "kombu", "flask", "marshmallow", "rich", "jwt", "twilio"}),
        (
            "web.__main__, web.app",
            {"jwt", "twilio", "sendgrid", "requests", "rich", "langcodes", "dns"},
        ),
        (
            "worker.__main__, worker.app",
            {"twilio", "sendgrid", "requests", "rich", "langcodes", "flask", "jwt"},
        ),
    ],
)
def test_a_process_loads_what_it_uses(module, absent):
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=CHECKOUT
    )

    assert set(done.stdout.split()) & absent == set()


def test_the_simulated_recipients_are_printed(run):
    table = run("provider", "recipients").stdout

    for name in ("delivered@", "late@", "deferred@", "complains@", "rate-limited@", "+15005550010"):
        assert name in table

"""`keyturn sms`: what is listed, and what is refused with its remedy."""

from __future__ import annotations

import json

import pytest

WHY = ("--reason", "a test", "--by", "eve")

pytestmark = pytest.mark.real_server


def test_a_prefix_is_blocked_listed_and_lifted(run):
    assert run("sms", "list").stdout == "No rule holds, and no prefix is named.\n"

    blocked = json.loads(run("sms", "block", "+8801", "--for", "1d", *WHY, "--json").stdout)
    (listed,) = json.loads(run("sms", "list", "--json").stdout)
    table = run("sms", "list", KEYTURN_SMS_PRICES="*=0.10").stdout
    status = run("status").stdout

    assert (blocked["action"], blocked["by"], listed["rule"]) == ("block", "eve", "block")
    assert listed["until"] == blocked["until"]
    assert "eve: a test" in table
    assert "SMS +8801" in status
    assert run("sms", "lift", "+8801", *WHY).returncode == 0
    assert json.loads(run("sms", "list", "--json").stdout) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("block", "8801", *WHY), "must be a prefix such as +8801"),
        (("block", "+41abc", *WHY), "must be a prefix such as +8801"),
        (("allow", "+999", *WHY), "must begin with the code of a country"),
        (("allow", "+41791234567", *WHY), "at most 4 digits behind the country code"),
        (("block", "+8801", "--for", "soon", *WHY), "--for must look like 90d"),
        (("block", "+8801", "--for", "never", *WHY), "--for must look like 90d"),
        (("block", "+8801", "--reason", " "), "reason must have 1 to 500 characters"),
        (("lift", "+8801", *WHY), "nothing holds for +8801"),
    ],
)
def test_what_is_refused(run, arguments, sentence):
    done = run("sms", *arguments)

    assert done.returncode == 1
    assert sentence in done.stderr
    assert json.loads(run("sms", "list", "--json").stdout) == []


def test_a_reason_is_needed(run):
    assert run("sms", "block", "+8801").returncode == 2

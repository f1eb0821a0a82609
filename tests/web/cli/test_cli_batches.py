"""`keyturn batch …`, as an operator types it."""

from __future__ import annotations

import json

import pytest

from shared.store import keys
from tests.support.builders import a_user
from tests.support.delivery_services import a_renderer
from tests.web.cli.test_cli_resets import printed
from worker.batches.estimate import Estimate
from worker.batches.feeder import BatchFeeder

pytestmark = pytest.mark.real_server


def work(services, batch_id):
    BatchFeeder(services, Estimate(services, a_renderer(services.settings))).feed(batch_id)


def started(run, *arguments):
    return printed(run("batch", "start", *arguments, "--json"))["batchId"]


def test_a_file_is_started_and_reported(run, services, tmp_path):
    file = tmp_path / "users.txt"
    file.write_text('ada\n{"userId":"nobody"}\n')

    batch_id = started(run, "--file", str(file), "--reason", "the outage", "--by", "eve")
    work(services, batch_id)
    told = printed(run("batch", "report", batch_id, "--json"))
    users = run("batch", "report", batch_id, "--users").stdout.splitlines()

    assert (told["by"], told["reason"], told["total"]) == ("eve", "the outage", 2)
    assert told["skips"] == {"unknown_user": 1}
    assert [json.loads(line)["status"] for line in users] == ["queued", "skipped"]


def test_a_batch_is_paused_resumed_and_cancelled(run):
    batch_id = started(run, "--user", "ada", "--user", "eve", "--rate", "5", "--type", "sms")

    states = [
        printed(run("batch", verb, batch_id, "--reason", "r", "--json"))["state"]
        for verb in ("pause", "resume", "cancel")
    ]
    resumed = run("batch", "resume", batch_id)
    watched = run("batch", "watch", batch_id)

    assert states == ["paused", "running", "cancelled"]
    assert resumed.returncode == 1
    assert "was cancelled" in resumed.stderr
    assert watched.stdout == "cancelled\n"


def test_a_filter_over_past_resets_is_started(run, services):
    a_user(services, "eve", email="eve@example.com")
    sent = printed(run("reset", "send", "eve", "--json"))["resetId"]
    services.resets.claim(sent)
    services.resets._client.hset(keys.reset(sent), "st", "failed")

    batch_id = started(run, "--org", "acme", "--since", "2h", "--status", "failed")

    assert services.batches.find(batch_id).total == 1


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (("start",), 2, "give --file, or --user, or a filter"),
        (("start", "--user", "ada", "--since", "2h"), 2, "give --file, or --user, or a filter"),
        (("start", "--plan", "x", "--user", "ada"), 2, "give --plan alone"),
        (("start", "--plan", "x"), 1, "there is no "),
        (("start", "--user", "ada", "--rate", "-1"), 1, "0 or more"),
        (("start", "--user", "ada", "--rate", "nan"), 1, "0 or more"),
        (("start", "--user", "ada", "--rate", "fast"), 2, "fast"),
        (("start", "--org", "nowhere"), 1, "doesn't exist"),
        (("start", "--org", "acme"), 1, "the selection is empty"),
        (("start", "--since", "yesterday"), 1, "must be a moment"),
        (("start", "--since", "2026-W48-1T12:00:00Z"), 1, "must be a moment"),
        (("start", "--since", "2026-11-23t12:00:60z"), 1, "the selection is empty"),
        (("start", "--since", "999999d"), 1, "the selection is empty"),
        (("start", "--since", "1h", "--until", "2h"), 1, "--until is before"),
        (("start", "--status", "accepted"), 2, "accepted"),
        (("start", "--user", "a/b"), 1, "without a slash"),
        (("watch", "nothing"), 1, "there is no "),
        (("report", "nothing"), 1, "there is no "),
        (("cancel", "nothing"), 1, "there is no "),
    ],
)
def test_what_cannot_be_done_is_said(run, arguments, status, reason):
    done = run("batch", *arguments)

    assert done.returncode == status, done.stderr
    assert reason in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bad_line_of_a_file_is_named(run, services, tmp_path):
    file = tmp_path / "users.txt"
    file.write_text("ada\n\n{broken\n")

    done = run("batch", "start", "--file", str(file))

    assert done.returncode == 1
    assert "line 3: is not JSON" in done.stderr
    assert services.batches.to_feed() == []

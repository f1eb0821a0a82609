"""The four incidents of docs/operating.md, played by real processes and the commands it names."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager

import pytest
import requests

from tests import CHECKOUT
from tests.journeys.stack import Stack, free_ports
from tests.support.callback_builders import SendGridKey
from tests.support.callback_poster import CallbackPoster
from tests.support.provider_stub import Answer, ProviderStub
from tests.support.waiting import HANG_SECONDS, wait_until

pytestmark = pytest.mark.real_server

WHY = ("--reason", "a drill", "--by", "eve")
OUT_OF_SERVICE = Answer.of_json(503, {"errors": [{"message": "out of service"}]})
PAUSE_WORKS_WITHIN_SECONDS = 2
UNLUCKY = ("kim", "lea", "max")
ACCEPT_THEN_CUT = Answer(takes=True, how="cut")


def a_user(user_id, email):
    return {"userId": user_id, "orgId": "demo", "email": email, "emailVerified": True}


class Drill:
    """A Keyturn, callers who ask it for resets, and the operator."""

    def __init__(self, keyturn, stub=None):
        self.keyturn, self.stub = keyturn, stub
        self.poster = None
        self._session = requests.Session()

    def ask(self, user_id):
        """A reset as a caller asks for it; the HTTP status and its id."""
        answer = self._session.post(
            f"{self.keyturn.url}/users/{user_id}/password/_reset",
            headers={"Authorization": f"Bearer {self.keyturn.token}"},
            timeout=60,
        )
        return answer.status_code, answer.headers.get("Keyturn-Reset-Id")

    def ask_for(self, user_id):
        status, reset_id = self.ask(user_id)
        assert status == 200
        return reset_id

    def cli(self, *arguments):
        """What a command tells as JSON."""
        done = self.keyturn.cli(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def people(self, *users):
        done = self.keyturn.cli("user", "import", "-", given="\n".join(map(json.dumps, users)))
        assert done.returncode == 0, done.stderr

    def status(self):
        return self.cli("status")

    def worst(self):
        return (self.status()["troubles"] or ["All is well."])[0]

    def explain(self, reset_id):
        return self.cli("explain", "--reset", reset_id)

    def verdict(self, name):
        """What there is to say to somebody at this address."""
        return self.cli("explain", "--address", f"{name}@acme.example")

    def becomes(self, name, kind):
        """The verdict, as soon as it is of this kind."""
        seen = {}

        def is_so():
            seen.update(self.verdict(name))
            return seen["kind"] == kind

        wait_until(is_so, what=f"{name} {kind}")
        return seen

    def acts(self):
        """Who pulled which lever, and why; the newest first."""
        return [(each["action"], each["by"], each["reason"]) for each in self.cli("audit")]

    def mails_taken(self):
        """How often the provider took the mail of each reset."""
        return Counter(each["resetId"] for each in self.stub.taken)

    @contextmanager
    def load(self, *, per_second, first):
        """Callers who keep asking, each for another user; gives the list of their answers."""
        answers, over = [], threading.Event()

        def keep_asking():
            while not over.wait(1 / per_second):
                answers.append(self.ask(f"u{first + len(answers)}"))

        caller = threading.Thread(target=keep_asking)
        caller.start()
        try:
            yield answers
        finally:
            over.set()
            caller.join()


@pytest.fixture(scope="module")
def drill(tmp_path_factory):
    """One provider, few threads, people enough."""
    with ProviderStub(port=free_ports(1)[0]) as stub:
        keyturn = Stack(
            tmp_path_factory.mktemp("drill"),
            KEYTURN_EMAIL_PROVIDERS="sendgrid",
            KEYTURN_SENDGRID_API_KEY="SG.test",
            KEYTURN_SENDGRID_API_URL=stub.url,
            KEYTURN_USER_COOLDOWN_SECONDS="0",
            KEYTURN_WORKER_THREADS="4",
            KEYTURN_DOUBT_SECONDS="10",  # time enough to see it with a command
        ).start()
        opened = Drill(keyturn, stub)
        opened.people(*(a_user(f"u{n}", f"u{n}@example.com") for n in range(1000)))
        yield opened
        keyturn.stop()
        sys.stdout.write(keyturn.log()[-8000:])


def test_a_provider_is_down_and_everything_arrives_once_it_is_back(drill):
    stub = drill.stub
    with drill.load(per_second=10, first=0) as answers:
        wait_until(lambda: len(drill.mails_taken()) > 5, what="mails in good times")
        stub.outage = OUT_OF_SERVICE
        wait_until(
            lambda: drill.worst().startswith(
                "Nothing goes out by email: sendgrid has its circuit open"
            ),
            what="a status that says what is wrong first",
        )
        assert "it answers with HTTP 503" in drill.worst()
        assert drill.status()["providers"][0]["circuit"] == "open"

        asked_in_vain = drill.ask_for("u900")
        wait_until(
            lambda: "circuit of every provider" in drill.explain(asked_in_vain)["verdict"],
            what="a verdict that names the outage",
        )
        seen = drill.explain(asked_in_vain)
        assert seen["kind"] == "waiting"
        assert "goes out by itself once one works again, until" in seen["next"]
        assert seen["resets"][0]["status"] == "queued"
        assert any(step["step"] == "due" for step in seen["chain"])

        stub.outage = None
        drill.keyturn.cli("provider", "resume", "sendgrid", *WHY)  # or it is tried within 15 s
        wait_until(
            lambda: drill.explain(asked_in_vain)["kind"] == "accepted",
            what="the arrival of what had waited",
        )
    wait_until(lambda: drill.status()["due"]["urgent"] == 0, what="an empty queue")

    assert {status for status, _ in answers} == {200}
    mails_taken = drill.mails_taken()
    assert {mails_taken[reset_id] for _, reset_id in answers} == {1}
    assert drill.cli("provider", "list")[0]["circuit"] == "closed"
    assert not drill.worst().startswith("Nothing goes out")
    assert [bool(drill.keyturn.events(f"circuit.{word}")) for word in ("opened", "closed")] == [
        True,
        True,
    ]
    assert ("provider.try", "eve", "a drill") in drill.acts()


def test_a_backlog_is_seen_before_it_is_late_and_another_worker_ends_it(drill):
    drill.stub.delay_seconds = 1.0  # four threads take four a second; callers ask for ten
    try:
        with drill.load(per_second=10, first=400) as answers:
            wait_until(
                lambda: drill.worst().startswith("The urgent queue falls behind"),
                what="a status that says that the queue falls behind",
            )
            seen = drill.explain(answers[-1][1])
            assert seen["kind"] == "waiting"
            with another_worker(drill.keyturn, threads=32) as worker:
                wait_until(
                    lambda: drill.status()["workers"]["urgent"] == 2,
                    what="the other worker",
                )
                wait_until(
                    lambda: drill.status()["dueNow"]["urgent"] < len(answers) // 10,
                    what="a queue that is not behind any more",
                )
    finally:
        drill.stub.delay_seconds = 0.0
    wait_until(lambda: drill.status()["due"]["urgent"] == 0, what="an empty queue")

    assert worker.returncode == 0
    mails_taken = drill.mails_taken()
    assert {(status, mails_taken[reset_id]) for status, reset_id in answers} == {(200, 1)}


@contextmanager
def another_worker(keyturn, *, threads):
    """One more worker beside those of `up`, ended by SIGTERM."""
    worker = subprocess.Popen(
        [sys.executable, "-m", "worker", "--queues", "urgent,receipts"],
        cwd=CHECKOUT,
        env=keyturn.environ | {"KEYTURN_WORKER_THREADS": str(threads)},
        stdout=subprocess.DEVNULL,
    )
    try:
        yield worker
    finally:
        os.kill(worker.pid, signal.SIGTERM)
        worker.wait(HANG_SECONDS)


def test_a_second_mail_has_the_same_code_and_is_explained(drill):
    drill.stub.answers(ACCEPT_THEN_CUT)

    reset_id = drill.ask_for("u950")
    wait_until(
        lambda: "in doubt, it may have been taken" in drill.explain(reset_id)["verdict"],
        what="a verdict that names the doubt",
    )
    wait_until(lambda: drill.mails_taken()[reset_id] > 1, what="the second copy")
    wait_until(lambda: drill.explain(reset_id)["kind"] == "accepted", what="acceptance")

    first, second = [each["mail"] for each in drill.stub.taken if each["resetId"] == reset_id]
    assert first["content"] == second["content"]
    assert "It may have come twice" in drill.explain(reset_id)["verdict"]
    figures = requests.get(f"{drill.keyturn.url}/metrics", timeout=60).text
    assert 'outcome="doubt",provider="sendgrid"' in figures


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """Default limits, a provider that calls back, six people."""
    key = SendGridKey()
    with ProviderStub(port=free_ports(1)[0]) as stub:
        keyturn = Stack(
            tmp_path_factory.mktemp("drill"),
            KEYTURN_EMAIL_PROVIDERS="sendgrid",
            KEYTURN_SENDGRID_API_KEY="SG.test",
            KEYTURN_SENDGRID_API_URL=stub.url,
            KEYTURN_SENDGRID_WEBHOOK_PUBLIC_KEY=key.public,
        ).start()
        opened = Drill(keyturn, stub)
        opened.poster = CallbackPoster(keyturn.url, public_url=keyturn.url, key=key)
        opened.people(*(a_user(n, f"{n}@acme.example") for n in ("eve", "bob", "mia", *UNLUCKY)))
        yield opened
        keyturn.stop()
        sys.stdout.write(keyturn.log()[-8000:])


def test_whoever_got_nothing_is_told_why_and_gets_it(few):
    assert few.verdict("bob")["kind"] == "no_request"

    few.ask_for("eve")
    few.becomes("eve", "accepted")
    few.poster.post_mail(few.poster.mail_events(few.stub.taken[-1], "bounce", type="bounce"))
    assert "keyturn suppression lift" in few.becomes("eve", "bounced")["next"]
    lift = ("suppression", "lift", "eve@acme.example", "--resend", *WHY)
    assert few.keyturn.cli(*lift).returncode == 0
    few.becomes("eve", "accepted")

    few.ask_for("bob")
    few.becomes("bob", "accepted")
    assert [few.ask("bob")[0] for _ in range(2)] == [429, 429]
    assert "a limit" in json.dumps(few.verdict("bob")["chain"])
    few.cli("limit", "clear", "--user", "bob", *WHY)
    few.ask_for("bob")

    few.cli("pause", "organisation", "demo", *WHY)
    time.sleep(PAUSE_WORKS_WITHIN_SECONDS)
    few.ask_for("mia")
    wait_until(
        lambda: "demo has been paused by eve" in few.verdict("mia")["verdict"],
        what="a verdict that names the pause",
    )
    few.cli("resume", "organisation", "demo", *WHY)
    few.becomes("mia", "accepted")

    assert few.acts()[:4] == [
        ("organisation.resume", "eve", "a drill"),
        ("organisation.pause", "eve", "a drill"),
        ("limit.clear", "eve", "a drill"),
        ("suppression.lift_and_resend", "eve", "a drill"),
    ]


def test_whom_an_outage_left_without_a_mail_gets_one_by_a_batch(few):
    few.stub.outage = Answer.of_json(400, {"errors": [{"message": "our sender was unverified"}]})
    for user_id in UNLUCKY:
        few.ask_for(user_id)
        few.becomes(user_id, "failed")
    few.stub.outage = None

    chosen = ("--since", "10m", "--status", "failed", "--provider", "sendgrid")
    plan = few.cli("batch", "plan", *chosen, *WHY)
    assert (plan["plan"]["total"], plan["plan"]["send"]) == (3, 3)
    few.cli("batch", "start", "--plan", plan["planId"], "--rate", "50", *WHY)
    assert few.keyturn.cli("batch", "watch", plan["planId"]).returncode == 0

    assert few.cli("batch", "report", plan["planId"])["accepted"] == 3
    assert {each["to"] for each in few.stub.taken[-3:]} == {
        f"{name}@acme.example" for name in UNLUCKY
    }
    assert [act[:2] for act in few.acts()][:2] == [
        ("batch.start", "eve"),
        ("batch.plan", "eve"),
    ]

"""Now: what is wrong with its button, queues, workers; and what the pages cost."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import orjson
import pytest

from shared.models import Queue
from shared.store import keys
from shared.store.admin.pauses import Scope
from tests.support.builders import a_token, a_user, an_organisation
from tests.support.console import Console
from tests.support.pages import see

LIMIT = 100_000  # bytes of a page


@pytest.fixture
def console(fake_client):
    console = Console(fake_client, email_providers=("sendgrid", "smtp"))
    console.services.dues.heartbeat(f"{','.join(Queue)} host-1 0.1.0 1764316800")
    console.sign_in()
    return console


def sample(console, *counts):
    """Samples ten seconds apart, the oldest first."""
    now_ms = time.time() * 1000
    for number, each in enumerate(counts):
        age = (len(counts) - number) * 10_000
        console.redis.lpush(keys.SAMPLES, orjson.dumps([now_ms - age, each]))


@pytest.mark.topology
def test_a_pause_is_wrong_and_its_button_mends_it(console):
    console.services.pauses.pause(Scope.QUEUE, "urgent", by="eve", reason="a drill")

    page = console.see()
    assert "The urgent queue has been paused by eve" in page.text
    hrefs = [its["href"] for tag, its in page.tags if tag == "a"]
    assert "/console/pauses/queue/urgent/resume" in hrefs
    assert "works again" in console.note_after("/pauses/queue/urgent/resume", rate="50")
    (release,) = console.services.pauses.releases()
    assert release.per_second == 50


def test_an_organisation_of_any_name_is_paused_and_resumed(console):
    an_organisation(console.services, "a b/c?d&e#f")
    console.note_after("/pauses/organisation/a b%2Fc%3Fd&e%23f/pause")

    links = [its["href"] for tag, its in console.see().tags if tag == "a"]
    (link,) = {each for each in links if "/pauses/organisation/" in each}
    assert "works again" in console.note_after(link.removeprefix("/console"))


def test_a_rate_that_is_none_is_refused(console):
    console.services.pauses.pause(Scope.QUEUE, "urgent", by="eve", reason="a drill")

    for rate in ("-1", "x", "nan", "1e99", "1000001"):
        answer = console.press("/pauses/queue/urgent/resume", rate=rate)

        assert answer.status_code == 400
        assert "the rate must be" in see(answer).text
    assert len(list(console.services.pauses.all())) == 1


@pytest.mark.parametrize(
    "path", ["/pauses/planet/mars/pause", "/pauses/channel/mars/pause", "/pauses/queue/x/resume"]
)
def test_what_cannot_be_paused_is_not_there(console, path):
    assert console.press(path).status_code == 404


def test_queues_show_their_depth_and_a_chart_of_in_and_out(console):
    console.reset()
    sample(console, {"in:urgent": 0}, {"in:urgent": 10, "out:urgent": 5}, {"in:urgent": 30})

    page = console.see()

    assert "1 waits" in page.text
    lines = [its for tag, its in page.tags if tag == "polyline"]
    assert [its["class"] for its in lines] == ["in", "out", "in", "out"]
    assert lines[0]["points"] == "0,12.0 4,0.0"


@pytest.mark.topology
def test_workers_show_their_version_and_when_they_started(console):
    console.services.dues.heartbeat("urgent an-older-one")

    text = console.see().text

    assert f"0.1.0 {datetime.fromtimestamp(1764316800, UTC):%Y-%m-%d %H:%M:%S} UTC" in text
    assert "an-older-one" in text


def test_a_slow_provider_can_be_paused_where_another_carries(console):
    for number in range(10):
        console.reset(a_user(console.services, f"u{number}"))
    for name in console.redis.scan_iter("*:due:urgent"):
        for reset_id in console.redis.zrange(name, 0, -1):
            console.redis.zadd(name, {reset_id: time.time() * 1000 - 60_000})
    sample(console, {}, {})
    console.redis.hset(
        keys.counters(keys.TAGS[0]),
        mapping={"p:sendgrid:accepted:n": 9, "p:sendgrid:accepted:b5000": 9},
    )

    page = console.see()

    assert "The oldest reset has been due for" in page.text
    links = {its["href"] for tag, its in page.tags if tag == "a"}
    assert "/console/pauses/provider/sendgrid/pause" in links


def test_who_may_not_see_the_installation_is_led_to_the_resets(console):
    console.sign_in(a_token(console.services, "ORG_OWNER"))

    assert console.open().headers["Location"] == "/console/resets"
    text = console.see("/resets").text
    assert "Providers" not in text.partition("Sign out")[0]


class Counting:
    """Counts the commands of a client, those of pipelines too."""

    def __init__(self, client, monkeypatch):
        self.commands = 0
        for owner in (type(client), type(client.pipeline())):
            original = owner.execute_command

            def counted(this, *arguments, _original=original, **options):
                self.commands += 1
                return _original(this, *arguments, **options)

            monkeypatch.setattr(owner, "execute_command", counted)

    def of(self, console, path):
        console.open(path)  # what is cached is
        before = self.commands
        answer = console.open(path)
        assert answer.status_code == 200
        assert len(answer.get_data()) < LIMIT
        return self.commands - before


def fill(console, number):
    """So many resets in the index of one bucket, and in the due sets, as copies of a few."""
    first = [console.reset(a_user(console.services, f"u{n}")) for n in range(3)]
    ids = [each.headers["Keyturn-Reset-Id"] for each in first]
    bucket = int(time.time() * 1000) // 600_000
    for tag in keys.TAGS:
        copies = [each for each in ids if keys.tag_of(each) == tag] * number
        if copies:
            console.redis.rpush(keys.made(tag, bucket), *copies)
            due = {f"{copies[0]}x{n}": 9e15 for n in range(number)}
            console.redis.zadd(keys.due(tag, Queue.URGENT), due)
    return ids[0]


@pytest.mark.parametrize(
    ("path", "most"),
    [
        ("", 800),
        ("/providers", 200),
        ("/resets", 1600),
        ("/resets?status=failed", 1600),
        ("/resets?provider=smtp&request=x", 3200),
        ("/resets?user=u0", 80),
        ("/resets/ID", 200),
    ],
)
def test_a_page_costs_as_much_with_many_records_as_with_few(real_client, monkeypatch, path, most):
    console = Console(real_client, email_providers=("sendgrid", "smtp"))
    reset_id = fill(console, 3_000)
    console.sign_in()
    counting = Counting(real_client, monkeypatch)

    few = counting.of(console, path.replace("ID", reset_id))
    fill(console, 30_000)
    many = counting.of(console, path.replace("ID", reset_id))

    assert many <= few + 16
    assert many <= most

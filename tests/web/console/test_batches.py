"""Batches in the console: planned by a file or past resets, started, watched, ended, downloaded."""

from __future__ import annotations

import csv
import io
import re
import time

import pytest

from shared.models import Channel, Outcome, Status
from shared.store.batches import BatchState
from shared.store.resets import Finish
from tests.support.batch_builders import a_batch
from tests.support.builders import a_user
from tests.support.console import Console
from tests.support.delivery_services import a_renderer
from tests.support.pages import see
from tests.web.server.test_asgi import Caller, a_piece, a_scope, ask
from web.server.asgi import AsgiApplication
from worker.batches.estimate import Estimate
from worker.batches.feeder import BatchFeeder

XSS = "<script>alert(1)</script>"


@pytest.fixture
def console(fake_client):
    console = Console(fake_client)
    console.sign_in()
    return console


def upload(console, content, name="users.txt", **fields):
    form = {"reason": "the outage", "type": "TYPE_EMAIL", "rate": "0", **fields}
    form["file"] = (io.BytesIO(content), name)
    path = f"/console/batches/upload?csrf={console.csrf()}"
    return console.browser.post(path, data=form, content_type="multipart/form-data")


def planned(console, answer):
    assert answer.status_code == 303, answer.get_data(as_text=True)
    return answer.headers["Location"].removeprefix("/console")


def work(console, path):
    """What a bulk worker does with it."""
    services = console.services
    estimate = Estimate(services, a_renderer(services.settings))
    BatchFeeder(services, estimate).feed(path.rpartition("/")[2])


def send(console, path, user_id, status=Status.ACCEPTED, reason=""):
    batch_id, resets = path.rpartition("/")[2], console.services.resets
    claim = resets.claim(console.services.batch_resets.reset_id(user_id, batch_id))
    resets.mark_sending(claim, provider="outbox", recipient_digest="d")
    outcome = Outcome.ACCEPTED if status is Status.ACCEPTED else Outcome.PERMANENT
    assert resets.finish(claim, Finish(status=status, reason=reason, outcome=outcome))


def test_a_batch_from_upload_to_report(console):
    a_user(console.services, "eve", email="eve@example.com")
    path = planned(console, upload(console, b"ada\neve\nnobody\nada\n"))
    work(console, path)
    plan = console.see(path).text
    assert "planned" in plan
    assert "get a message 2" in plan
    assert "duplicate 1 unknown_user 1" in plan

    assert "The batch is started." in console.note_after(f"{path}/start")
    work(console, path)
    assert "running, 2 of 4 done" in console.see(path).text
    assert "The batch is paused." in console.note_after(f"{path}/pause")
    assert "paused, 2 of 4 done" in console.see(path).text
    assert "The batch is resumed." in console.note_after(f"{path}/resume")
    send(console, path, "ada")
    send(console, path, "eve", Status.FAILED, "refused")

    report = console.see(path).text
    assert "finished with 1 failure: 1 failed: refused" in report
    assert "Pause" not in report
    lines = list(csv.reader(io.StringIO(console.open(f"{path}/results.csv").get_data(True))))
    assert lines[0] == ["userId", "resetId", "status", "reason"]
    assert [line[0::2] for line in lines[1:]] == [
        ["ada", "accepted"], ["eve", "failed"], ["nobody", "skipped"], ["ada", "skipped"],
    ]  # fmt: skip
    acts = [each.act for each in console.services.audit.newest(most=4)]
    assert [act.action for act in acts] == [
        "batch.resume", "batch.pause", "batch.start", "batch.plan",
    ]  # fmt: skip
    assert {act.reason for act in acts} == {"the outage", "a test"}


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"ada\neve\n", "u.txt"),
        (b'\xef\xbb\xbfada\r\n{"userId":"eve"}\r\n\r\n', "u.jsonl"),
        (b"userId,name\nada,Ada\neve,Eve\n", "u.csv"),
        (b'\xef\xbb\xbfName;User ID\r\nAda;ada\r\n"E; v";eve\r\n', "U.CSV"),
        (b"user_id\nada\neve\n", "u.csv"),
        (b"ada\neve\n", "u.csv"),
    ],
)
def test_files_of_each_kind_are_read(console, content, name):
    path = planned(console, upload(console, content, name))

    batch = console.services.batches.find(path.rpartition("/")[2])
    entries = console.services.batch_lists.read(batch.list_id, 0)
    assert [each.user_id for each in entries] == ["ada", "eve"]


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        (b"", "u.txt", "the selection is empty"),
        (b" \n\n", "u.csv", "the selection is empty"),
        (b"ada\n\xff\xfe\n", "u.txt", "line 2: is not UTF-8"),
        ("ada\neve\n".encode("utf-16"), "u.txt", "line 1: is not UTF-8"),
        (b"ada\na\0b\n", "u.txt", "line 2: userId must be 1 to 200 printable"),
        (b"userId,x\na\0b,1\n", "u.csv", "line 2: userId must be 1 to 200 printable"),
        (b"name,mail\nada,x\n", "u.csv", "line 1: names no column userId"),
        (b"userId,x\nada\n", "u.csv", "line 2: has 1 columns, not 2"),
        (b'userId,x\nada,"open\n', "u.csv", "line 2: unexpected end of data"),
        (b"ada\n{]\nx/y\n", "u.jsonl", "line 2: is not JSON line 3: userId must be"),
        (b"x" * 3000, "u.txt", "line 1: a line has at most 2048 bytes"),
        (b"ada\n" + XSS.encode() + b"\n", "u.txt", "line 2: userId must be"),
    ],
)
def test_bad_files_are_named_by_line_and_nothing_is_planned(console, content, name, words):
    answer = upload(console, content, name, reason=XSS)

    assert answer.status_code == 400
    assert words in see(answer).text
    assert XSS not in answer.get_data(as_text=True)
    assert console.services.batches.every_id() == []


def test_of_ten_thousand_errors_the_first_are_shown(console):
    answer = upload(console, b"a/b\n" * 10_000)

    page = see(answer).text
    assert "10,000 of 10,000 lines cannot be read; nothing was started" in page
    assert ("line 50:" in page, "line 51:" in page) == (True, False)
    assert len(answer.get_data()) < 100_000


def test_a_huge_file_is_refused_by_its_lines(console, monkeypatch):
    monkeypatch.setattr("web.batches.uploads.MAX_LINES", 300_000)

    answer = upload(console, b"\n" * 300_001)

    assert answer.status_code == 400
    assert "a batch has at most 300,000 lines" in see(answer).text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"reason": " "}, "reason must have 1 to 500 characters"),
        ({"rate": "fast"}, "the rate must be a number"),
        ({"rate": "-1"}, "the rate must be a number"),
        ({"rate": "nan"}, "the rate must be a number"),
        ({"rate": "0.0001"}, "ratePerSecond must be from"),
        ({"type": "TYPE_PIGEON"}, "type must be TYPE_EMAIL"),
        ({"file": (io.BytesIO(b""), "")}, "choose a file"),
    ],
)
def test_what_is_wrong_with_a_form_is_said_above_it(console, fields, words):
    form = {"reason": "x", "rate": "0", "file": (io.BytesIO(b"ada"), "u.txt")} | fields
    path = f"/console/batches/upload?csrf={console.csrf()}"

    answer = console.browser.post(path, data=form, content_type="multipart/form-data")

    assert answer.status_code == 400
    assert words in see(answer).text


def test_an_upload_without_the_sessions_form_is_refused(console):
    form = {"reason": "x", "file": (io.BytesIO(b"ada"), "u.txt")}

    answer = console.browser.post("/console/batches/upload", data=form)

    assert answer.status_code == 403
    assert console.services.batches.every_id() == []


def test_past_resets_are_chosen_by_a_filter(console):
    fields = {"status": "failed", "since": "2026-11-23T12:00", "until": "2026-11-23T13:00:30"}
    nobody = console.press("/batches/filter", **fields)
    wrong = console.press("/batches/filter", **fields | {"until": "2026-11-23T11:00"})
    other = console.press("/batches/filter", provider="pigeon")

    assert (nobody.status_code, wrong.status_code, other.status_code) == (400, 400, 400)
    assert "the selection is empty: nobody" in see(nobody).text
    assert "select.until lies before select.since" in see(wrong).text
    assert see(wrong).find(name="since")["value"] == "2026-11-23T12:00"


def test_the_rate_and_the_time_left_come_from_the_looks_before(console, monkeypatch):
    a_user(console.services, "eve", email="eve@example.com")
    path = planned(console, upload(console, b"ada\neve\n"))
    work(console, path)
    console.press(f"{path}/start")
    work(console, path)
    first = console.see(path)
    assert "a second" not in first.text
    again = first.find(id="live")["hx-get"].removeprefix("/console")
    now = time.time()
    monkeypatch.setattr("web.console.batches.time.time", lambda: now + 10)
    send(console, path, "ada")

    running = console.see(again)
    console.press(f"{path}/pause")
    paused = console.see(again)

    assert re.search(r"0\.1 a second · 1\d s left", running.text)
    assert "a second" not in paused.text


@pytest.mark.parametrize("looks", ["x", "1:2", "9999999999.9:5", "-1.0:3", "1.0:" + "9" * 300])
def test_looks_of_another_make_are_no_rate(console, looks):
    a_batch(console.services, "ada")

    assert "a second" not in console.see(f"/batches/b1?looks={looks}").text


def test_a_batch_of_others_is_not_there(console):
    a_batch(console.services, "ada", org_ids=frozenset({"beta"}))
    console.sign_in(console.token)

    pages = [
        console.open(f"/batches/b1{end}").status_code for end in ("", "/cancel", "/results.csv")
    ]

    assert pages == [404, 404, 404]
    assert "b1" not in console.see("/batches").text


def test_what_was_typed_stands_on_pages_as_text(console):
    a_batch(console.services, "=1+1", "ada", reason=XSS, by=XSS, state=BatchState.RUNNING)

    for path in ("/batches", "/batches/b1", "/batches/b1/cancel"):
        assert XSS not in console.open(path).get_data(as_text=True)
    lines = console.open("/batches/b1/results.csv").get_data(as_text=True).splitlines()
    assert lines[1].startswith("'=1+1,")


def test_a_plan_of_sms_tells_its_cost(fake_client):
    console = Console(fake_client, sms_prices=(("CH", 0.07),), sms_currency="CHF")
    console.sign_in()
    path = planned(console, upload(console, b"ada\n", type="TYPE_SMS"))
    work(console, path)

    text = console.see(path).text
    assert console.services.batches.find(path.rpartition("/")[2]).channel is Channel.SMS
    assert "0.07 CHF for 1 segments" in text


def test_the_list_costs_the_same_however_many_there_are(console, monkeypatch):
    for number in range(25):
        a_batch(console.services, "ada", batch_id=f"{number:016x}")
    page = console.open("/batches")
    older = see(page)

    assert len(page.get_data()) < 100_000
    assert page.get_data(as_text=True).count("<tr>") == 21
    assert "Older" in older.text


def by_asgi(console, content, *, is_signed_in=True, length=None):
    """Post a file in pieces, as granian hands them on; give the caller back."""
    cookie = console.browser.get_cookie("__Host-keyturn-console")
    mark = b"--edge\r\nContent-Disposition: form-data; name="
    head = mark + b'"reason"\r\n\r\nx\r\n' + mark + b'"file"; filename="u.txt"\r\n\r\n'
    whole = head + content + b"\r\n--edge--\r\n"
    pieces = [a_piece(whole[at : at + 65_536]) for at in range(0, len(whole), 65_536)]
    headers = [
        (b"content-type", b"multipart/form-data; boundary=edge"),
        (b"content-length", str(length or len(whole)).encode()),
    ]
    if is_signed_in:
        headers.append((b"cookie", f"{cookie.key}={cookie.value}".encode()))
    scope = a_scope(*headers, path=b"/console/batches/upload")
    scope["query_string"] = f"csrf={console.csrf()}".encode()
    caller = Caller(*pieces, a_piece(b"", more=False))
    ask(AsgiApplication(console.app, threads=1), caller, scope=scope)
    return caller, len(pieces)


def test_a_large_file_arrives_in_pieces(console):
    caller, _ = by_asgi(console, b"".join(b"user-%012d\n" % n for n in range(20_000)))

    assert caller.told[0]["status"] == 303
    (batch_id,) = console.services.batches.every_id()
    assert console.services.batches.find(batch_id).total == 20_000


def test_a_file_is_not_awaited_without_a_session(console):
    caller, pieces = by_asgi(console, b"ada\n" * 100_000, is_signed_in=False)

    assert caller.told[0]["status"] == 401
    assert len(caller._pieces) == pieces + 1


def test_a_file_beyond_all_measure_is_refused_before_it_arrives(console):
    caller, pieces = by_asgi(console, b"ada\n", length=300 * 1024 * 1024)

    assert caller.told[0]["status"] == 413
    assert b"<html" in caller.body
    assert len(caller._pieces) == pieces + 1

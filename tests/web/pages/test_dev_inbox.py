"""/dev/inbox shows what the outbox holds, to callers on this machine alone."""

from __future__ import annotations

import pytest

from shared.models import Channel, Email, Recipient, Sms
from shared.providers.outbox import Outbox
from tests.support.pages import Visit, see

LINK = "https://reset.example.com/ui/password/reset?userID=ada&code=ABCDEFGH&orgID=acme"
SHORT_LINK = "https://reset.example.com/r/0abc/ABCDEFGH"
HTML = f'<!doctype html><html><head></head><body><a href="{LINK}">Go "on"</a></body></html>'


@pytest.fixture
def visit(fake_client, tmp_path):
    write_messages(tmp_path)
    return Visit(fake_client, data_dir=tmp_path, public_url="http://127.0.0.1:8080")


def write_messages(data_dir):
    moments = iter([1000.0, 2000.0])
    email = Recipient(Channel.EMAIL, "ada@example.com")
    phone = Recipient(Channel.SMS, "+41791234567")
    Outbox(Channel.EMAIL, data_dir, clock=lambda: next(moments)).send(
        Email("0abc", email, "no-reply@keyturn.example", "Keyturn", "Reset <your> password",
              f"Open {LINK} & go on <script>", HTML, "<m1@keyturn.example>")
    )  # fmt: skip
    Outbox(Channel.SMS, data_dir, clock=lambda: next(moments)).send(
        Sms("0abd", phone, f"Code ABCD-EFGH: {SHORT_LINK}", "https://reset.example.com/cb", 590)
    )


def test_the_newest_message_comes_first(visit):
    entries = visit.open("/dev/inbox.json").get_json()

    assert [entry["channel"] for entry in entries] == ["sms", "email"]
    assert entries[1]["text"].startswith("Open ")


def test_both_parts_of_a_mail_are_shown(visit):
    page = see(visit.open("/dev/inbox"))

    frame = page.find(title="HTML part of the mail")
    assert frame["srcdoc"].replace('<base target="_blank">', "") == HTML
    assert "allow-scripts" not in frame["sandbox"]
    assert f"Open {LINK} & go on <script>" in page.text


@pytest.mark.parametrize("link", [LINK, SHORT_LINK])
def test_links_can_be_clicked(visit, link):
    assert see(visit.open("/dev/inbox")).find(href=link)["rel"] == "noreferrer"


def test_an_sms_is_shown_with_its_segments(visit):
    assert "1 segment · GSM-7" in see(visit.open("/dev/inbox")).text


def test_an_empty_inbox_says_what_to_do(fake_client, tmp_path):
    visit = Visit(fake_client, data_dir=tmp_path, public_url="http://localhost:8080")

    page = see(visit.open("/dev/inbox"))

    assert "Nothing yet" in page.text


def test_the_page_runs_and_loads_nothing(visit):
    policy = visit.open("/dev/inbox").headers["Content-Security-Policy"]

    assert "default-src 'none'" in policy
    assert "script" not in policy


@pytest.mark.parametrize("path", ["/dev/inbox", "/dev/inbox.json"])
@pytest.mark.parametrize(
    ("address", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("::1", {}, 200),
        ("::ffff:127.0.0.1", {}, 200),
        ("127.0.0.1", {"Host": "127.0.0.1:8080"}, 200),
        ("::1", {"Host": "[::1]:8080"}, 200),
        ("127.0.0.1", {"Host": "reset.example.com"}, 404),
        ("10.0.0.7", {}, 404),
        ("", {}, 404),
        ("127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}, 404),
        ("127.0.0.1", {"Forwarded": "for=127.0.0.1"}, 404),
        ("127.0.0.1", {"Host": "evil.example"}, 404),
    ],
)
def test_only_callers_on_this_machine_may_look(visit, path, address, headers, status):
    answer = visit.browser.get(path, headers=headers, environ_base={"REMOTE_ADDR": address})

    assert answer.status_code == status


@pytest.mark.parametrize(("choice", "status"), [("on", 200), ("off", 404)])
def test_the_setting_decides_where_it_is_set(fake_client, tmp_path, choice, status):
    visit = Visit(fake_client, data_dir=tmp_path, dev_inbox=choice)

    near = visit.open("/dev/inbox")
    far = visit.browser.get("/dev/inbox", environ_base={"REMOTE_ADDR": "10.0.0.7"})

    assert (near.status_code, far.status_code) == (status, status)


def test_there_is_no_inbox_where_messages_go_to_real_providers(fake_client, tmp_path):
    visit = Visit(
        fake_client, data_dir=tmp_path, email_providers=("smtp",), sms_providers=("twilio",),
        dev_inbox="on",
    )  # fmt: skip

    assert visit.open("/dev/inbox.json").status_code == 404


def test_the_start_page_leads_to_all_there_is_and_holds_no_token(visit, tmp_path):
    (tmp_path / "demo_token").write_text("kt_pat_secret\n")

    page = see(visit.open("/"))

    for href in ("dev/inbox", "console", "docs", "http://127.0.0.1:5555/"):
        page.find(href=href)
    assert f'-H "Authorization: Bearer $(cat {tmp_path}/demo_token)"' in page.text
    assert "kt_pat_secret" not in page.text
    assert "2 messages" in page.text


@pytest.mark.parametrize("url", ["https://reset.example.com", "http://10.0.0.7:8080"])
def test_an_installation_for_others_has_no_start_page(fake_client, tmp_path, url):
    visit = Visit(fake_client, data_dir=tmp_path, public_url=url)

    assert visit.open("/").status_code == 404
    assert visit.open("/").mimetype == "application/json"

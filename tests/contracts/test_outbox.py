"""The outbox: its files, its simulated recipients, its bounds."""

from __future__ import annotations

import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.errors import DoubtfulProviderError, PermanentProviderError, TransientProviderError
from shared.models import Channel
from shared.providers.outbox import MAX_FILES, SIMULATED, Outbox, due_reports, read_outbox
from tests.support.provider_builders import LOGO, a_mail, an_sms

NOW = 1_780_000_000.5


def mail_outbox(data_dir, now=NOW):
    return Outbox(Channel.EMAIL, data_dir, clock=lambda: now)


def test_a_mail_is_written_whole(tmp_path):
    mail = a_mail()

    receipt = mail_outbox(tmp_path).send(mail)

    assert receipt.provider_message_id == f"1780000000500-{mail.reset_id}-1"
    assert read_outbox(tmp_path) == [
        {
            "channel": "email",
            "resetId": mail.reset_id,
            "at": "2026-05-28T20:26:40.500+00:00",
            "to": "ada.lovelace@example.com",
            "provider": "outbox",
            "language": "fr",
            "subject": mail.subject,
            "text": mail.text,
            "html": mail.html,
            "headers": {
                "From": "Keyturn <no-reply@keyturn.example>",
                "Keyturn-Reset-Id": mail.reset_id,
                "Message-ID": mail.message_id,
                "Auto-Submitted": "auto-generated",
                "X-Auto-Response-Suppress": "All",
            },
        }
    ]


def test_a_logo_is_written_into_the_html_so_that_the_inbox_can_show_it(tmp_path):
    mail = a_mail(html=f'<img src="{LOGO.url}">', logo=LOGO, reply_to="help@acme.example")

    mail_outbox(tmp_path).send(mail)

    (entry,) = read_outbox(tmp_path)
    assert entry["html"] == f'<img src="{LOGO.data_url}">'
    assert entry["headers"]["Reply-To"] == "help@acme.example"


def test_an_sms_is_written_with_its_segments(tmp_path):
    Outbox(Channel.SMS, tmp_path, clock=lambda: NOW).send(an_sms(body="ж" * 71))

    entry = read_outbox(tmp_path)[0]
    assert (entry["segments"], entry["encoding"]) == (2, "UCS-2")
    assert entry["callbackUrl"] == an_sms().callback_url
    assert entry["validitySeconds"] == 590
    assert entry["to"] == "+41791234567"


def test_nobody_else_can_read_the_messages(tmp_path):
    mail_outbox(tmp_path).send(a_mail())

    directory = tmp_path / "outbox"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()] == [0o600]


def test_the_newest_message_comes_first(tmp_path):
    for second in (1, 3, 2):
        mail_outbox(tmp_path, now=float(second)).send(a_mail(subject=str(second)))

    assert [entry["subject"] for entry in read_outbox(tmp_path)] == ["3", "2", "1"]
    assert [entry["subject"] for entry in read_outbox(tmp_path, limit=1)] == ["3"]


def test_an_outbox_nobody_wrote_to_is_empty(tmp_path):
    assert read_outbox(tmp_path / "nowhere") == []


def test_two_messages_of_one_moment_are_both_kept(tmp_path):
    outbox = mail_outbox(tmp_path)

    with ThreadPoolExecutor(8) as pool:
        receipts = list(pool.map(lambda _: outbox.send(a_mail()), range(40)))

    assert len({receipt.provider_message_id for receipt in receipts}) == 40
    assert len(read_outbox(tmp_path)) == 40


def test_only_the_last_messages_are_kept(tmp_path):
    for number in range(MAX_FILES + 60):
        mail_outbox_at = Outbox(Channel.EMAIL, tmp_path, clock=lambda at=number: float(at))
        mail_outbox_at._written = number
        mail_outbox_at.send(a_mail(text="", html="", subject=str(number)))

    kept = read_outbox(tmp_path, limit=5000)
    assert MAX_FILES - 60 <= len(kept) <= MAX_FILES
    assert kept[0]["subject"] == str(MAX_FILES + 59)


def test_fails_twice_fails_twice_for_each_reset(tmp_path):
    for reset_id in ("1abc", "2abc"):
        mail = a_mail("fails-twice+tag@example.com", reset_id=reset_id)
        for _ in range(2):
            with pytest.raises(TransientProviderError):
                mail_outbox(tmp_path).send(mail)

        assert mail_outbox(tmp_path).send(mail).provider_message_id

    assert len(read_outbox(tmp_path)) == 2


def test_fails_twice_counts_across_processes(tmp_path):
    program = (
        "import sys; from pathlib import Path; from shared.models import *; "
        "from shared.providers.outbox import Outbox; "
        "Outbox(Channel.SMS, Path(sys.argv[1])).send("
        "Sms('1abc', Recipient(Channel.SMS, '+15005550003'), 'x'))"
    )
    run = [sys.executable, "-c", program, str(tmp_path)]

    codes = [subprocess.run(run, check=False, capture_output=True).returncode for _ in range(3)]

    assert codes == [1, 1, 0]


def test_times_out_takes_the_message_all_the_same(tmp_path):
    with pytest.raises(DoubtfulProviderError):
        mail_outbox(tmp_path).send(a_mail("Times-Out@example.com"))

    assert len(read_outbox(tmp_path)) == 1


@pytest.mark.parametrize(
    ("name", "number", "by_mail", "by_sms"),
    [("bounces", "+15005550001", "bounce", "bad_number"), ("refused", "+15005550002", None, None)],
)
def test_a_refusal_suppresses_where_nobody_is_there(tmp_path, name, number, by_mail, by_sms):
    with pytest.raises(PermanentProviderError) as mail:
        mail_outbox(tmp_path).send(a_mail(f"{name}@example.com"))
    with pytest.raises(PermanentProviderError) as sms:
        Outbox(Channel.SMS, tmp_path).send(an_sms(number))

    assert (mail.value.suppression, sms.value.suppression) == (by_mail, by_sms)
    assert read_outbox(tmp_path) == []


def test_a_directory_that_cannot_be_written_is_tried_again(tmp_path):
    (tmp_path / "outbox").write_text("a file, where the directory should be")

    with pytest.raises(TransientProviderError) as caught:
        mail_outbox(tmp_path).send(a_mail())

    assert caught.value.reason == "outbox_unwritable"


def test_a_reset_id_cannot_leave_the_directory(tmp_path):
    mail_outbox(tmp_path).send(a_mail(reset_id="../../x"))

    assert [path.parent for path in tmp_path.rglob("*.json")] == [tmp_path / "outbox"]


@pytest.mark.parametrize("name", SIMULATED)
def test_what_is_simulated_is_reported_by_mail_and_sms_when_it_is_due(tmp_path, name):
    for message, channel in ((a_mail(f"{name}+tag@example.com"), Channel.EMAIL),
                             (an_sms(SIMULATED[name]["number"]), Channel.SMS)):  # fmt: skip
        sender = Outbox(channel, tmp_path / channel, clock=lambda: NOW)
        for _ in range(3):
            try:
                sender.send(message)
            except (TransientProviderError, PermanentProviderError, DoubtfulProviderError):
                continue
            break
        early, all_of_them = (
            [event.type for _, event in due_reports(tmp_path / channel, NOW + seconds)]
            for seconds in (0.5, 500)
        )

        assert early == []
        assert all_of_them == [each["type"] for each in SIMULATED[name].get("reports", [])]


def test_a_complaint_and_a_bounce_suppress_as_the_channel_does(tmp_path):
    for name, channel, message in (
        ("complains", Channel.EMAIL, a_mail("complains@example.com")),
        ("complains", Channel.SMS, an_sms(SIMULATED["complains"]["number"])),
        ("bounces-later", Channel.SMS, an_sms(SIMULATED["bounces-later"]["number"])),
    ):
        Outbox(channel, tmp_path / f"{name}{channel}", clock=lambda: NOW).send(message)
    found = {
        folder.name: [event.suppression for _, event in due_reports(folder, NOW + 60)]
        for folder in tmp_path.iterdir()
    }

    assert found == {
        "complainsemail": ["", "complaint"],
        "complainssms": ["", "opt_out"],
        "bounces-latersms": ["bad_number"],
    }


def test_a_429_says_when_to_try_again_and_comes_once(tmp_path):
    mail = a_mail("rate-limited@example.com")
    with pytest.raises(TransientProviderError) as caught:
        mail_outbox(tmp_path).send(mail)

    assert caught.value.retry_after_seconds == 5
    assert mail_outbox(tmp_path).send(mail).provider_message_id


def test_other_recipients_are_accepted_and_nothing_is_reported(tmp_path):
    mail_outbox(tmp_path).send(a_mail("ada@example.com"))

    assert list(due_reports(tmp_path, NOW + 1000)) == []

"""For each registered provider, how to bring about every outcome of the contract."""

from __future__ import annotations

import json
import socket
from contextlib import contextmanager

from shared.models import Channel
from shared.providers.registry import PROVIDERS
from tests.support.provider_builders import (
    ADDRESS,
    AMPLE_SECONDS,
    CODE,
    NUMBER,
    TIMEOUT_SECONDS,
    a_mail,
    an_sms,
    some_settings,
)
from tests.support.provider_stub import Answer, ProviderStub
from tests.support.relay_stub import CUT, DRIP, GARBAGE, HANG, RelayStub

# What providers like to write: the very things we must not repeat.
TALK = f"no such recipient {ADDRESS} {NUMBER} {CODE}"

HTTP_FAULTS = {
    "hang": Answer(how="hang"),
    "drip": Answer(202, body="x" * 500, how="drip"),
    "endless": Answer(how="endless_headers"),
    "cut": Answer(how="cut"),
    "garbage": Answer(how="garbage"),
    "odd_status": Answer(666, body=TALK),
}


@contextmanager
def _refusing():
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    yield port


SLOW_CASES = ("hang", "drip", "endless")


def _patience(case):
    is_slow = case in SLOW_CASES
    return {"provider_timeout_seconds": TIMEOUT_SECONDS if is_slow else AMPLE_SECONDS}


@contextmanager
def _over_http(key, url_setting, message, case, answer):
    with ProviderStub() as stub:
        if answer is not None:
            stub.answers(answer)
        provider = PROVIDERS[key](some_settings(**{url_setting: stub.url}, **_patience(case)))
        yield provider, message
        provider.close()


def _http_cases(key, url_setting, message, rows):
    cases = {
        case: lambda case=case, answer=answer: _over_http(key, url_setting, message, case, answer)
        for case, answer in ({"taken": None} | HTTP_FAULTS | rows).items()
    }

    @contextmanager
    def refused():
        with _refusing() as port:
            yield (
                PROVIDERS[key](some_settings(**{url_setting: f"http://127.0.0.1:{port}"})),
                message,
            )

    return cases | {"refused_connection": refused}


def _sendgrid_error(status, **headers):
    return Answer(status, headers, json.dumps({"errors": [{"message": TALK}]}))


def _twilio_error(status, code, **headers):
    content = {"code": code, "message": TALK, "status": status}
    return Answer(status, headers, json.dumps(content))


def _twilio_cases(name):
    return _http_cases(
        (Channel.SMS, name),
        f"{name.replace('-', '_')}_api_url",
        an_sms(),
        {
            "transient": _twilio_error(429, 20429),
            "account": _twilio_error(401, 20003),
            "permanent": _twilio_error(400, 21617),
            "suppressing": _twilio_error(400, 21211),
            "doubt": _twilio_error(504, 0),
        },
    )


def _gateway_cases(channel, name):
    return _http_cases(
        (channel, name),
        f"{name.replace('-', '_')}_url",
        a_mail() if channel is Channel.EMAIL else an_sms(),
        {
            "transient": Answer(429, {"Retry-After": "3"}, TALK),
            "account": Answer(401, body=TALK),
            "permanent": Answer(422, body=json.dumps({"reason": TALK})),
            "suppressing": Answer(410, body=json.dumps({"reason": "opt_out", "text": TALK})),
            "doubt": Answer(504, body=TALK),
        },
    )


def _smtp_cases():
    @contextmanager
    def talk(case, replies):
        with RelayStub(replies) as relay:
            settings = some_settings(smtp_url=relay.url, **_patience(case))
            yield PROVIDERS[Channel.EMAIL, "smtp"](settings), a_mail()

    @contextmanager
    def refused():
        with _refusing() as port:
            settings = some_settings(smtp_url=f"smtp://127.0.0.1:{port}")
            yield PROVIDERS[Channel.EMAIL, "smtp"](settings), a_mail()

    replies = {
        "taken": {},
        "hang": {".": HANG},
        "drip": {".": DRIP},
        "cut": {".": CUT},
        "garbage": {".": GARBAGE},
        "odd_status": {".": f"354 {TALK}"},
        "transient": {"RCPT": f"451 4.7.1 {TALK}"},
        "account": {"MAIL": f"553 5.7.1 {TALK}"},
        "permanent": {".": f"554 5.7.1 {TALK}"},
        "suppressing": {"RCPT": f"550 5.1.1 {TALK}"},
    }
    cases = {
        case: lambda case=case, reply=reply: talk(case, reply) for case, reply in replies.items()
    }
    return cases | {"refused_connection": refused}


def _outbox_cases(tmp_path, channel):
    @contextmanager
    def to(message):
        yield PROVIDERS[channel, "outbox"](some_settings(data_dir=tmp_path)), message

    wishes = {
        "taken": ("delivered", 5),
        "suppressing": ("bounces", 1),
        "permanent": ("refused", 2),
        "transient": ("fails-twice", 3),
        "doubt": ("times-out", 4),
    }
    is_mail = channel is Channel.EMAIL
    return {
        case: lambda name=name, digit=digit: to(
            a_mail(f"{name}@example.com") if is_mail else an_sms(f"+1500555000{digit}")
        )
        for case, (name, digit) in wishes.items()
    }


def scenarios(tmp_path):
    """(channel, provider) → case → a context that gives the provider and a message for it."""
    sendgrid = (Channel.EMAIL, "sendgrid")
    return {
        sendgrid: _http_cases(
            sendgrid,
            "sendgrid_api_url",
            a_mail(),
            {
                "transient": _sendgrid_error(503),
                "account": _sendgrid_error(401),
                "permanent": _sendgrid_error(400),
                "doubt": _sendgrid_error(502),
            },
        ),
        (Channel.SMS, "twilio"): _twilio_cases("twilio"),
        (Channel.SMS, "twilio-2"): _twilio_cases("twilio-2"),
        (Channel.EMAIL, "http"): _gateway_cases(Channel.EMAIL, "http"),
        (Channel.SMS, "http"): _gateway_cases(Channel.SMS, "http"),
        (Channel.SMS, "http-2"): _gateway_cases(Channel.SMS, "http-2"),
        (Channel.EMAIL, "smtp"): _smtp_cases(),
        (Channel.EMAIL, "outbox"): _outbox_cases(tmp_path, Channel.EMAIL),
        (Channel.SMS, "outbox"): _outbox_cases(tmp_path, Channel.SMS),
    }

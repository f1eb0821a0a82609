"""What came back from a provider → what we do → what the operator reads: one row for each failure.

Each row goes the whole way: a stub answers the real provider, a real delivery notes it on a real
record, and the verdict is read as `keyturn explain` prints it. Source: docs/reliability.md
"""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest
import structlog

from shared.models import Channel, Outcome, Status
from shared.providers import failures
from shared.providers.registry import PROVIDERS
from shared.providers.sendgrid import STATUSES
from shared.providers.twilio import CODES
from shared.store.admin.circuits import CircuitState
from tests.support.builders import a_user
from tests.support.delivery_services import ScriptedProvider, some_delivery_services
from tests.support.provider_builders import AMPLE_SECONDS, some_settings
from tests.support.provider_stub import Answer, ProviderStub
from tests.support.relay_stub import CUT, HANG, RelayStub
from web.explain.diagnosis import diagnose
from web.explain.model import Evidence

pytestmark = pytest.mark.usefixtures("quiet")

SENT, RETRY, MOVE_ON, PERMANENT, SUPPRESS, DOUBT = (
    "sent",  # a provider has it
    "retry",  # the same provider (e-mail) after the schedule's pause
    "move on",  # the next provider, at once
    "permanent",  # it failed; the address stays good
    "suppress",  # it failed; the address is not written to any more
    "doubt",  # looked at later, at the same provider only
)
OPENS = True  # the circuit, at the first such answer
SHORT_SECONDS = 0.4


@pytest.fixture
def quiet():
    with structlog.testing.capture_logs():
        yield


@dataclass(frozen=True)
class Row:
    """What came back; then what follows, and words of the verdict."""

    answer: object
    outcome: Outcome
    action: str
    words: str
    opens: bool = False
    timeout_seconds: float = AMPLE_SECONDS


A, T, P, D, OK = (
    Outcome.ACCOUNT,
    Outcome.TRANSIENT,
    Outcome.PERMANENT,
    Outcome.DOUBT,
    Outcome.ACCEPTED,
)


def mail_error(status, text="no", **headers):
    content = json.dumps({"errors": [{"message": text, "field": None}]})
    return Answer(status, {name.replace("_", "-"): v for name, v in headers.items()}, content)


def in_seconds(seconds):
    return str(int(time.time()) + seconds)


SENDGRID = {
    "202": Row(None, OK, SENT, "sendgrid took it"),
    # Sandbox mode is asked for in the request, and we never do: a 200 is as good as a 202.
    "200": Row(Answer(200, {"X-Message-Id": "m"}), OK, SENT, "sendgrid took it"),
    "302": Row(Answer(302), A, MOVE_ON, "check its URL", OPENS),
    "400": Row(mail_error(400), P, PERMANENT, "found the mail malformed"),
    "401 key": Row(mail_error(401, "bad key"), A, MOVE_ON, "does not take our API key", OPENS),
    "401 credits": Row(
        mail_error(401, "Maximum credits exceeded"), A, MOVE_ON, "our credits", OPENS
    ),
    "403": Row(mail_error(403), A, MOVE_ON, "sender not verified, key scope", OPENS),
    "404": Row(mail_error(404), A, MOVE_ON, "check KEYTURN_SENDGRID_API_URL", OPENS),
    "405": Row(mail_error(405), A, MOVE_ON, "check KEYTURN_SENDGRID_API_URL", OPENS),
    "406": Row(mail_error(406), A, MOVE_ON, "does not understand our client", OPENS),
    "413": Row(mail_error(413), P, MOVE_ON, "too large for SendGrid"),
    "415": Row(mail_error(415), A, MOVE_ON, "does not understand our client", OPENS),
    "429": Row(mail_error(429), T, RETRY, "asks for fewer requests"),
    "429 for 3 s": Row(mail_error(429, Retry_After="3"), T, RETRY, "asks for fewer requests"),
    "429 for a minute": Row(
        mail_error(429, X_RateLimit_Reset=in_seconds(3000)), T, MOVE_ON, "asks for fewer requests"
    ),
    "451": Row(mail_error(451), A, MOVE_ON, "data residency", OPENS),
    "418": Row(mail_error(418), T, RETRY, "for a reason we do not know"),
    "500": Row(mail_error(500), T, RETRY, "SendGrid has trouble"),
    "502": Row(mail_error(502), D, DOUBT, "may have been taken behind it"),
    "503": Row(mail_error(503), T, RETRY, "out of service"),
    "504": Row(mail_error(504), D, DOUBT, "may have been taken behind it"),
    "529": Row(mail_error(529), D, DOUBT, "neither yes nor no"),
    "refused": Row("refused", T, RETRY, "refused the connection; nothing was sent"),
    "no name": Row("nowhere", T, RETRY, "name cannot be resolved"),
    "no TLS": Row("no TLS", T, RETRY, "no verified TLS"),
    "read timeout": Row(
        Answer(how="hang"), D, DOUBT, "no answer came back", timeout_seconds=SHORT_SECONDS
    ),
    "reset after write": Row(Answer(how="cut"), D, DOUBT, "no answer came back"),
    "garbage": Row(Answer(how="garbage"), D, DOUBT, "the answer is not HTTP"),
}


def sms_error(status, code=None, **headers):
    content = json.dumps({"code": code, "message": "no", "status": status})
    return Answer(status, {name.replace("_", "-"): v for name, v in headers.items()}, content)


def bad_number(code):
    return Row(sms_error(400, code), P, SUPPRESS, "no SMS can be sent to this number")


def one_route(code, words):
    return Row(sms_error(400, code), A, MOVE_ON, words)


TWILIO = {
    "201": Row(None, OK, SENT, "twilio took it"),
    "20003": Row(sms_error(401, 20003), A, MOVE_ON, "does not take our login", OPENS),
    "20005": Row(sms_error(403, 20005), A, MOVE_ON, "does not take our login", OPENS),
    "20404": Row(sms_error(404, 20404), A, MOVE_ON, "does not know the account", OPENS),
    "20429": Row(sms_error(429, 20429), T, RETRY, "never processed"),
    "429": Row(sms_error(429), T, RETRY, "never processed"),
    "429 for a minute": Row(sms_error(429, 20429, Retry_After="60"), T, MOVE_ON, "never processed"),
    "20500": Row(sms_error(500, 20500), T, RETRY, "Twilio has trouble"),
    "20503": Row(sms_error(503, 20503), T, RETRY, "Twilio has trouble"),
    "21211": bad_number(21211),
    "21217": bad_number(21217),
    "21421": bad_number(21421),
    "21614": bad_number(21614),
    "21635": bad_number(21635),
    "21408": Row(sms_error(400, 21408), P, MOVE_ON, "may not send to this region"),
    "21606": one_route(21606, "sender cannot be used for this route"),
    "21612": one_route(21612, "sender cannot be used for this route"),
    "21659": one_route(21659, "sender cannot be used for this route"),
    "21660": one_route(21660, "sender cannot be used for this route"),
    "21608": one_route(21608, "a trial account writes to numbers it has verified only"),
    "21610": Row(sms_error(400, 21610), P, SUPPRESS, "STOP"),
    "21611": Row(sms_error(400, 21611), T, RETRY, "queue is full"),
    "21617": Row(sms_error(400, 21617), P, PERMANENT, "the text is too long"),
    "21619": Row(sms_error(400, 21619), P, PERMANENT, "the text is missing"),
    "21730": Row(sms_error(503, 21730), T, RETRY, "under maintenance"),
    "30001": Row(sms_error(400, 30001), T, RETRY, "queue is full"),
    "30002": Row(sms_error(400, 30002), A, MOVE_ON, "account is suspended", OPENS),
    "30003": Row(sms_error(400, 30003), T, RETRY, "cannot be reached now"),
    "30004": Row(sms_error(400, 30004), P, PERMANENT, "blocks our messages"),
    "30005": bad_number(30005),
    "30006": bad_number(30006),
    "30007": Row(sms_error(400, 30007), P, PERMANENT, "a carrier filtered the message"),
    "30008": Row(sms_error(400, 30008), T, RETRY, "for a reason it does not tell"),
    "30032": one_route(30032, "toll-free sender is not verified"),
    "30034": one_route(30034, "not registered (10DLC)"),
    "30036": Row(sms_error(400, 30036), P, PERMANENT, "validity period was over"),
    "30410": Row(sms_error(400, 30410), D, DOUBT, "it may have the SMS"),
    "30450": Row(sms_error(400, 30450), P, PERMANENT, "suspects SMS pumping"),
    "30453": Row(sms_error(400, 30453), P, PERMANENT, "suspects SMS pumping"),
    "400 unknown": Row(sms_error(400, 99999), P, PERMANENT, "found the request wrong"),
    "401 bare": Row(sms_error(401), A, MOVE_ON, "does not take our login", OPENS),
    "405": Row(sms_error(405), A, MOVE_ON, "check KEYTURN_TWILIO_API_URL", OPENS),
    "502": Row(sms_error(502), D, DOUBT, "may have been taken behind it"),
    "504": Row(sms_error(504), D, DOUBT, "may have been taken behind it"),
    "refused": Row("refused", T, RETRY, "refused the connection; nothing was sent"),
    "read timeout": Row(
        Answer(how="hang"), D, DOUBT, "no answer came back", timeout_seconds=SHORT_SECONDS
    ),
    "reset after write": Row(Answer(how="cut"), D, DOUBT, "no answer came back"),
    "201 without sid": Row(Answer(201, body="{}"), D, DOUBT, "without saying which message"),
}

SMTP = {
    "250": Row({}, OK, SENT, "smtp took it"),
    "greeting 421": Row({"greeting": "421 4.3.2 later"}, T, RETRY, "come again"),
    "greeting 554": Row({"greeting": "554 5.7.1 no"}, A, MOVE_ON, "does not talk to us", OPENS),
    "ehlo 550": Row({"EHLO": "550 5.7.1 no"}, A, MOVE_ON, "does not take our host's name", OPENS),
    "mail 451": Row({"MAIL": "451 4.3.0 busy"}, T, RETRY, "come again"),
    "mail 530": Row({"MAIL": "530 5.7.0 log in"}, A, MOVE_ON, "KEYTURN_EMAIL_FROM", OPENS),
    "mail 553": Row({"MAIL": "553 5.1.8 no"}, A, MOVE_ON, "KEYTURN_EMAIL_FROM", OPENS),
    "rcpt 421": Row({"RCPT": "421 4.7.0 later"}, T, RETRY, "come again"),
    "rcpt 450 greylisting": Row({"RCPT": "450 4.7.1 Greylisted"}, T, RETRY, "takes nothing now"),
    "rcpt 451": Row({"RCPT": "451 4.3.0 busy"}, T, RETRY, "come again"),
    "rcpt 452": Row({"RCPT": "452 4.2.2 full"}, T, RETRY, "takes nothing now"),
    "rcpt 530": Row({"RCPT": "530 5.7.0 log in"}, A, MOVE_ON, "does not let us in", OPENS),
    "rcpt 550 5.1.1": Row({"RCPT": "550 5.1.1 nobody"}, P, SUPPRESS, "nobody at that address"),
    "rcpt 550 5.7.1": Row({"RCPT": "550 5.7.1 policy"}, P, PERMANENT, "refused the recipient"),
    "rcpt 552": Row({"RCPT": "552 5.2.2 full"}, P, PERMANENT, "refused the recipient"),
    "relay denied": Row(
        {"RCPT": "554 5.7.1 <x@y.example>: Relay access denied"},
        *(A, MOVE_ON, "does not relay for us", OPENS),
    ),
    "data 451": Row({"DATA": "451 4.3.0 busy"}, T, RETRY, "come again"),
    "data 554": Row({"DATA": "554 5.5.1 no"}, P, PERMANENT, "refused the mail"),
    "end 421": Row({".": "421 4.3.2 closing"}, T, RETRY, "come again"),
    "end 451": Row({".": "451 4.3.0 busy"}, T, RETRY, "come again"),
    "mail 552": Row({"MAIL": "552 5.3.4 large"}, P, MOVE_ON, "too large for the relay"),
    "mail 555": Row({"MAIL": "555 5.5.4 what is SMTPUTF8"}, P, MOVE_ON, "cannot carry such a mail"),
    "size": Row({"EHLO": "250-stub\r\n250 SIZE 99"}, P, MOVE_ON, "too large for the relay"),
    "rcpt 553 5.6.7": Row({"RCPT": "553 5.6.7 ASCII"}, P, MOVE_ON, "cannot carry such a mail"),
    "rcpt 504 helo": Row(
        {"RCPT": "504 5.5.2 <x>: Helo command rejected: need fully-qualified hostname"},
        *(A, MOVE_ON, "KEYTURN_SMTP_EHLO_NAME", OPENS),
    ),
    "rcpt 554 host": Row(
        {"RCPT": "554 5.7.1 <x[192.0.2.1]>: Client host rejected: Access denied"},
        *(A, MOVE_ON, "refuses our host or sender", OPENS),
    ),
    "data 552": Row({"DATA": "552 large"}, P, MOVE_ON, "too large for the relay"),
    "end 552": Row({".": "552 5.3.4 large"}, P, MOVE_ON, "too large for the relay"),
    "end 552 full": Row({".": "552 5.2.2 full"}, P, PERMANENT, "refused the mail"),
    "end 554 media": Row({".": "554 5.6.1 no HTML"}, P, MOVE_ON, "cannot carry such a mail"),
    "end 554 spam": Row({".": "554 5.7.1 spam"}, P, PERMANENT, "refused the mail after reading"),
    "end odd": Row({".": "354 what"}, D, DOUBT, "neither yes nor no"),
    "cut before the end": Row({"DATA": CUT}, T, RETRY, "before the mail was complete"),
    "cut after the end": Row({".": CUT}, D, DOUBT, "the relay did not answer"),
    "silent after the end": Row(
        {".": HANG}, D, DOUBT, "the relay did not answer", timeout_seconds=SHORT_SECONDS
    ),
    "refused": Row("refused", T, RETRY, "refused the connection; nothing was sent"),
}


@contextmanager
def url_of(answer, start):
    """Where the provider is to be found."""
    with ExitStack() as open_until_the_end:
        if answer == "refused":
            with socket.create_server(("127.0.0.1", 0)) as closing:
                port = closing.getsockname()[1]
            yield f"{start}://127.0.0.1:{port}"
        elif answer == "nowhere":
            yield f"{start}://no-such-host.invalid"
        elif answer == "no TLS":
            relay = open_until_the_end.enter_context(RelayStub())
            yield relay.url.replace("smtp:", "https:")
        elif isinstance(answer, dict):
            yield open_until_the_end.enter_context(RelayStub(answer)).url
        else:
            stub = open_until_the_end.enter_context(ProviderStub())
            stub.answers(*[answer] if isinstance(answer, Answer) else [])
            yield stub.url


class Case:
    """One failure on its whole way, with a spare provider beside."""

    def __init__(self, client, key, setting, row, url):
        settings = {setting: url, "provider_timeout_seconds": row.timeout_seconds}
        self.provider = PROVIDERS[key](some_settings(**settings))
        self.spare = ScriptedProvider(name="spare", channel=key[0])
        self.services = some_delivery_services(client, self.provider, self.spare)
        a_user(self.services.services)
        self.delivery = self.services.delivery
        self.reset_id = self.services.record(channel=key[0])
        self.delivery.deliver(self.reset_id)
        self.reset = self.services.look(self.reset_id)

    @property
    def action(self):
        """What followed, in the words of the table."""
        status = self.reset.status
        if status is Status.ACCEPTED:
            return SENT
        if status is Status.UNKNOWN:
            return DOUBT
        if status is Status.RETRYING:
            return MOVE_ON if self.services.wait_seconds(self.reset_id) <= 0 else RETRY
        user = self.services.services.directory.find_user("ada")
        found = self.services.services.suppressions.find(user.recipient(self.reset.channel))
        return SUPPRESS if found else PERMANENT

    @property
    def words(self):
        now = self.services.services.dues.now()
        diagnosis = diagnose(Evidence(now=now, user_id="ada", reset=self.reset))
        return f"{diagnosis.text} {diagnosis.next_step}"

    @property
    def is_open(self):
        name = self.provider.name
        circuit = self.services.services.circuits.read([name])[name]
        return circuit.state is CircuitState.OPEN

    def next_carriers(self):
        """Who carries the attempt after this one."""
        self.provider.send = ScriptedProvider().send
        self.services.stores.make_due(self.reset_id)
        self.delivery.deliver(self.reset_id)
        return self.services.carriers(self.reset_id)[1:]


def check(client, key, setting, row, start="http"):
    """The row holds; where the word of the table is about the next attempt, it is made."""
    with url_of(row.answer, start) as url:
        case = Case(client, key, setting, row, url)

        assert case.services.outcomes(case.reset_id) == [row.outcome]
        assert case.action == row.action
        assert row.words in case.words
        assert case.is_open == row.opens
        if row.action == MOVE_ON:
            assert case.next_carriers() == ["spare"]
        if row.action == DOUBT:
            assert "spare" not in case.next_carriers()
        case.provider.close()


def rows_of(table):
    return [pytest.param(row, id=name) for name, row in table.items()]


@pytest.mark.parametrize("row", rows_of(SENDGRID))
def test_what_sendgrid_answers(fake_client, row):
    check(fake_client, (Channel.EMAIL, "sendgrid"), "sendgrid_api_url", row)


@pytest.mark.parametrize("row", rows_of(TWILIO))
def test_what_twilio_answers(fake_client, row):
    check(fake_client, (Channel.SMS, "twilio"), "twilio_api_url", row)


@pytest.mark.parametrize("row", rows_of(SMTP))
def test_what_a_relay_answers(fake_client, row):
    check(fake_client, (Channel.EMAIL, "smtp"), "smtp_url", row, "smtp")


@pytest.mark.parametrize("status", [500, 503])
def test_a_failure_of_theirs_after_a_long_wait_is_doubt(fake_client, monkeypatch, status):
    monkeypatch.setattr(failures, "LONG_WAIT_SECONDS", 0.05)
    mail = Row(Answer(status, delay_ms=80), D, DOUBT, "it may have taken the mail")
    sms = Row(Answer(status, delay_ms=80), D, DOUBT, "it may have taken the SMS")

    check(fake_client, (Channel.EMAIL, "sendgrid"), "sendgrid_api_url", mail)
    check(fake_client, (Channel.SMS, "twilio"), "twilio_api_url", sms)


def test_every_row_of_the_providers_own_tables_is_in_the_table():
    assert {str(status) for status in STATUSES} <= {name.partition(" ")[0] for name in SENDGRID}
    assert {str(code) for code in CODES} <= set(TWILIO)

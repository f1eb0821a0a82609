"""Every diagnosis of `keyturn explain`, made by letting it happen: calls, deliveries, callbacks."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import timedelta

import pytest

from shared.errors import (
    DoubtfulProviderError,
    PermanentProviderError,
    TransientProviderError,
)
from shared.models import Channel, Recipient, Status
from shared.recording import RECORDED_ERRORS
from shared.settings import TwilioAccount
from shared.store.admin.pauses import Scope
from tests.support.builders import a_user
from tests.support.callback_builders import (
    TWILIO_SID,
    TWILIO_TOKEN,
    SendGridKey,
    a_body,
    a_mail_event,
    a_status,
    form_body,
    twilio_headers,
    twilio_query,
)
from tests.support.delivery_services import DeliveryServices, ScriptedProvider
from tests.support.store_builders import Stores
from tests.support.wire_v2 import WireV2
from web.explain.diagnosis import BY_STATUS, REFUSALS
from web.explain.model import DiagnosisKind
from web.explain.query import explain_reset, explain_user
from web.services import build_web_services
from worker.receipts import ReceiptProcessor

KEY = SendGridKey()
WHO = {"by": "eve", "reason": "a test"}
MOMENT = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
MAIL = Recipient(Channel.EMAIL, "ada@example.com")


class LaterDues:
    """The due sets, looked at from a later moment."""

    def __init__(self, dues, later):
        self._dues, self._later = dues, later

    def now(self):
        return self._dues.now() + self._later

    def __getattr__(self, name):
        return getattr(self._dues, name)


class Story(WireV2):
    """A caller, a worker, the providers' callbacks, and whoever asks why."""

    def __init__(self, client, *providers, **settings):
        fields = {
            "sendgrid_webhook_public_key": (KEY.public,),
            "twilio_accounts": (TwilioAccount(account_sid=TWILIO_SID, auth_token=(TWILIO_TOKEN,)),),
            "email_providers": ("sendgrid",),
            "sms_providers": ("twilio",),
            "sms_countries": ("CH",),
        }
        super().__init__(client, **(fields | settings))
        services = self.services
        stores = Stores(
            client,
            services.digests,
            services.resets,
            services.code_store,
            services.dues,
            services.counters,
        )
        wanted = providers or (
            ScriptedProvider(name="sendgrid"),
            ScriptedProvider(name="twilio", channel=Channel.SMS),
        )
        by_channel = {c: [p for p in wanted if p.channel is c] for c in Channel}
        self.worker = DeliveryServices(services, stores, by_channel)
        services.dues.heartbeat("urgent,receipts w1")

    def ask(self, channel="email", **headers):
        """The call, and the id of its reset."""
        response = self.reset(body={"type": f"TYPE_{channel.upper()}"}, **headers)
        return response.headers.get("Keyturn-Reset-Id")

    def send(self, channel="email"):
        """The call, and what a worker does with it."""
        reset_id = self.ask(channel)
        self.worker.deliver(reset_id)
        return reset_id

    def tell_mail(self, event, reset_id, **fields):
        """SendGrid's callback, applied."""
        body = a_body(a_mail_event(event, reset_id, **fields))
        self._apply(self.call("/callbacks/sendgrid", data=body, headers=KEY.headers(body)))

    def tell_sms(self, status, reset_id, **fields):
        """Twilio's callback, applied."""
        form, query = a_status(status, sid="m1", **fields), twilio_query(reset_id)
        told = {"data": form_body(form), "headers": twilio_headers(query, form)}
        self._apply(self.call(f"/callbacks/twilio?{query}", **told))

    def _apply(self, response):
        assert response.status_code == 204
        processor = ReceiptProcessor(self.services)
        for shard in self.services.receipts.shards_waiting():
            processor.apply(shard)

    def code(self, reset_id):
        reset = self.services.resets.find(reset_id)
        return self.services.codes.code(reset_id, reset.key_id).characters

    def explain(self, *, later=None):
        """Why ada stands as she does."""
        return explain_user(self._services(later), "ada").diagnosis

    def explain_one(self, reset_id):
        services = self._services(None)
        return explain_reset(services, services.resets.find(reset_id)).diagnosis

    def steps(self):
        return [step.step for step in explain_user(self._services(None), "ada").timeline]

    def _services(self, later):
        services = build_web_services(self.services)
        return replace(services, dues=LaterDues(services.dues, later or timedelta()))


@pytest.fixture
def story(client):
    return Story(client)


def test_no_request_reached_us(story):
    diagnosis = story.explain()

    assert diagnosis.kind is DiagnosisKind.NO_REQUEST
    assert "No request for this user reached Keyturn" in diagnosis.text
    assert "calling system" in diagnosis.next_step


def test_no_request_reached_us_and_one_would_be_refused(story):
    a_user(story.services, email=None)

    assert "one would be refused now: the user has no verified address" in story.explain().text


@pytest.mark.parametrize(
    ("setting", "words", "lever"),
    [
        ({"user_cooldown_seconds": 600.0}, "pause between two", "--user ada"),
        ({"user_limit_per_hour": 1}, "resets in an hour", "--user ada"),
        ({"user_limit_per_day": 1}, "resets in a day", "--user ada"),
        ({"org_limit_per_minute": 1}, "organisation's resets", "--org acme"),
        ({"caller_limit_per_minute": 1}, "caller's resets", "--caller "),
        ({"sms_budget_per_day": 1}, "SMS of a day", "--sms-budget"),
    ],
)
@pytest.mark.topology
def test_a_limit_refused_it(client, setting, words, lever):
    story = Story(client, **setting)
    first = story.ask("sms")
    story.worker.stores.end_in(first, -1)
    assert story.ask("sms", X_Request_Id="r-17") is None
    assert story.ask("sms", X_Request_Id="r-18") is None

    diagnosis = story.explain()

    assert diagnosis.kind is DiagnosisKind.LIMITED
    assert words in diagnosis.text
    assert "by SMS" in diagnosis.text
    assert "(2 times since" in diagnosis.text
    assert "request r-18" in diagnosis.text
    assert re.search(f"until {MOMENT}", diagnosis.text)
    assert f"keyturn limit clear {lever}" in diagnosis.next_step


def test_a_limit_that_is_over_says_so(client):
    story = Story(client, user_cooldown_seconds=60.0)
    first = story.ask()
    story.worker.stores.end_in(first, -1)
    story.ask()

    assert "That is over" in story.explain(later=timedelta(minutes=2)).next_step


def test_a_refusal_says_nothing_while_the_reset_before_it_still_helps(client):
    story = Story(client, user_cooldown_seconds=60.0)
    story.send()
    assert story.ask() is None

    assert story.explain().kind is DiagnosisKind.ACCEPTED
    assert "refused" in story.steps()


def test_no_usable_address_at_the_call(story):
    a_user(story.services, phone=None)
    assert story.ask("sms") is None

    diagnosis = story.explain()

    assert diagnosis.kind is DiagnosisKind.NO_ADDRESS
    assert "no verified address" in diagnosis.text
    assert "in the directory" in diagnosis.next_step


def test_no_usable_address_any_more(story):
    reset_id = story.ask()
    a_user(story.services, email=None)
    story.worker.deliver(reset_id)

    diagnosis = story.explain()

    assert diagnosis.kind is DiagnosisKind.NO_ADDRESS
    assert f"keyturn reset resend {reset_id} --channel sms" in diagnosis.next_step


def test_a_refusal_that_was_mended_says_so(story):
    a_user(story.services, phone=None)
    story.ask("sms")
    a_user(story.services)

    assert "That has been mended: ask again now" in story.explain().next_step


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"state": "locked"}, "locked or deactivated"),
        ({"state": "initial"}, "not yet initialised"),
        ({"kind": "machine"}, "is a machine"),
    ],
)
def test_a_user_who_may_have_no_reset(story, fields, words):
    a_user(story.services, **fields)
    assert story.ask() is None

    diagnosis = story.explain()

    assert diagnosis.kind is DiagnosisKind.REFUSED
    assert words in diagnosis.text


def test_no_provider_is_there(client):
    story = Story(client, email_providers=())
    assert story.ask() is None

    diagnosis = story.explain()

    assert diagnosis.kind is DiagnosisKind.REFUSED
    assert "KEYTURN_EMAIL_PROVIDERS" in diagnosis.next_step


def test_a_link_that_leads_elsewhere(story):
    story.reset_v2(body={"sendLink": {"urlTemplate": "https://evil.example/{{.Code}}"}})

    assert "host that is not allowed" in story.explain().text


@pytest.mark.topology
def test_it_waits_in_a_queue(story):
    story.ask()

    diagnosis = story.explain(later=timedelta(seconds=42))

    assert diagnosis.kind is DiagnosisKind.WAITING
    assert "waiting in the urgent queue for 42 s" in diagnosis.text
    assert "keyturn status" in diagnosis.next_step


def test_it_waits_and_nobody_works(client):
    story = Story(client)
    story.services.dues.deregister("urgent,receipts w1")
    story.ask()

    diagnosis = story.explain()

    assert "no worker of that queue was seen" in diagnosis.text
    assert "python -m worker --queues urgent" in diagnosis.next_step


@pytest.mark.parametrize(
    ("scope", "name"),
    [(Scope.QUEUE, "urgent"), (Scope.CHANNEL, "email"), (Scope.ORGANISATION, "acme")],
)
def test_it_waits_because_somebody_paused_it(story, scope, name):
    story.services.pauses.pause(scope, name, by="eve", reason="they asked")
    story.send()

    diagnosis = story.explain()

    assert diagnosis.kind is DiagnosisKind.WAITING
    assert f"the {scope} {name} has been paused by eve since" in diagnosis.text
    assert "(they asked)" in diagnosis.text
    assert f"keyturn resume {scope} {name}" in diagnosis.next_step


def test_it_waits_because_its_only_provider_is_paused(story):
    story.services.pauses.pause(Scope.PROVIDER, "sendgrid", by="eve", reason="an outage")
    story.send()

    assert "the provider sendgrid has been paused by eve" in story.explain().text


def test_it_waits_because_somebody_holds_it(story):
    reset_id = story.ask()
    story.services.waiting.hold(reset_id, by="eve", reason="a suspicion")
    story.worker.deliver(reset_id)

    diagnosis = story.explain()

    assert diagnosis.kind is DiagnosisKind.WAITING
    assert "by eve: a suspicion" in diagnosis.text
    assert f"keyturn reset release {reset_id}" in diagnosis.next_step


def test_it_is_tried_again(client):
    story = Story(client, ScriptedProvider(TransientProviderError("http_503", "out of service")))
    story.send()

    diagnosis = story.explain()

    assert diagnosis.kind is DiagnosisKind.RETRYING
    assert "Attempt 1 at p1: not taken (out of service)" in diagnosis.text
    assert re.search(f"retried until {MOMENT}", diagnosis.text)
    assert re.search(f"retry at {MOMENT}", diagnosis.next_step)


def test_it_is_in_doubt(client):
    story = Story(client, ScriptedProvider(DoubtfulProviderError("timeout", "no answer")))
    story.send()

    diagnosis = story.explain()

    assert diagnosis.kind is DiagnosisKind.RETRYING
    assert "in doubt, it may have been taken" in diagnosis.text
    assert "the same code" in diagnosis.next_step


def test_it_failed_for_good(client):
    story = Story(client, ScriptedProvider(PermanentProviderError("http_400", "no such box")))
    reset_id = story.send()

    diagnosis = story.explain()

    assert diagnosis.kind is DiagnosisKind.FAILED
    assert "It failed for good: no such box" in diagnosis.text
    assert f"keyturn reset resend {reset_id}" in diagnosis.next_step


def test_it_was_taken_and_no_receipt_is_normal_so_early(story):
    story.send()

    diagnosis = story.explain()

    assert diagnosis.kind is DiagnosisKind.ACCEPTED
    assert "sendgrid took it at" in diagnosis.text
    assert "its message id: m1" in diagnosis.text
    assert "normal so early" in diagnosis.text


@pytest.mark.parametrize(("channel", "minutes"), [("email", 6), ("sms", 3)])
def test_it_was_taken_and_the_receipt_is_late(story, channel, minutes):
    story.send(channel)

    diagnosis = story.explain(later=timedelta(minutes=minutes))

    assert diagnosis.kind is DiagnosisKind.ACCEPTED
    assert "that is late" in diagnosis.text
    assert "are callbacks coming in" in diagnosis.next_step


def test_it_was_taken_by_a_provider_that_tells_no_more(client):
    story = Story(client, ScriptedProvider(name="smtp"))
    story.send()

    assert "it reports no more" in story.explain(later=timedelta(minutes=30)).text


def test_its_code_was_returned(story):
    story.a_code()

    diagnosis = story.explain()

    assert diagnosis.kind is DiagnosisKind.ACCEPTED
    assert "returned to the caller" in diagnosis.text


def test_it_is_deferred(story):
    reset_id = story.send()
    story.tell_mail("deferred", reset_id)

    diagnosis = story.explain()

    assert diagnosis.kind is DiagnosisKind.DEFERRED
    assert re.search(f"sendgrid has it and has been waiting since {MOMENT}", diagnosis.text)
    assert "goes on trying" in diagnosis.next_step


def test_it_bounced_and_the_address_is_suppressed(story):
    reset_id = story.send()
    story.tell_mail("bounce", reset_id, type="bounce", status="5.1.1")

    diagnosis = story.explain()

    assert diagnosis.kind is DiagnosisKind.BOUNCED
    assert "It came back" in diagnosis.text
    assert re.search(rf"a\*\*\*@example.com has been suppressed since {MOMENT}", diagnosis.text)
    assert "keyturn suppression lift" in diagnosis.next_step
    assert "--channel sms" in diagnosis.next_step


def test_the_provider_refused_the_address_at_once(client):
    refusal = PermanentProviderError("no_such_box", "there is no such box", suppression="bounce")
    story = Story(client, ScriptedProvider(refusal, name="sendgrid"))
    story.send()

    diagnosis = story.explain()

    assert diagnosis.kind is DiagnosisKind.BOUNCED
    assert "It failed for good: there is no such box." in diagnosis.text
    assert "has been suppressed since" in diagnosis.text


def test_the_next_call_after_a_bounce_is_explained_too(story):
    story.tell_mail("bounce", story.send(), type="bounce", status="5.1.1")
    assert story.ask() is None

    diagnosis = story.explain()

    assert diagnosis.kind is DiagnosisKind.BOUNCED
    assert "was refused: a***@example.com has been suppressed since" in diagnosis.text


def test_it_was_suppressed_before_it_went_out(story):
    reset_id = story.ask()
    story.services.suppressions.add(MAIL, reason="complaint", source="operator eve")
    story.worker.deliver(reset_id)

    diagnosis = story.explain()

    assert diagnosis.kind is DiagnosisKind.BOUNCED
    assert "Nothing was sent: the recipient complained" in diagnosis.text
    assert "says operator eve" in diagnosis.text


def test_it_was_delivered(story):
    reset_id = story.send()
    story.tell_mail("delivered", reset_id)

    diagnosis = story.explain()

    assert diagnosis.kind is DiagnosisKind.DELIVERED
    assert re.search(
        rf"sendgrid says it arrived at {MOMENT}, at a\*\*\*@example.com", diagnosis.text
    )
    assert "spam folder" in diagnosis.next_step


def test_it_was_delivered_and_expired_unused(story):
    story.tell_sms("delivered", story.send("sms"))

    diagnosis = story.explain(later=timedelta(minutes=11))

    assert diagnosis.kind is DiagnosisKind.OVER
    assert "twilio says it arrived" in diagnosis.text
    assert "+41*****67" in diagnosis.text
    assert "expired" in diagnosis.text


def test_it_was_opened_and_not_used(story):
    reset_id = story.send()
    story.set_password(password="weak", code=story.code(reset_id))

    diagnosis = story.explain()

    assert diagnosis.kind is DiagnosisKind.OVER
    assert "no new password was set" in diagnosis.text


def test_it_expired_before_anybody_got_to_it(story):
    reset_id = story.ask()
    story.worker.stores.end_in(reset_id, -1)
    story.worker.deliver(reset_id)

    diagnosis = story.explain()

    assert diagnosis.kind is DiagnosisKind.OVER
    assert "no worker got to it" in diagnosis.text


def test_it_was_used_already(story):
    reset_id = story.send()
    assert story.set_password(code=story.code(reset_id)).status_code == 200

    diagnosis = story.explain()

    assert diagnosis.kind is DiagnosisKind.OVER
    assert re.search(f"the password changed at {MOMENT}", diagnosis.text)


def test_it_was_overtaken(story):
    first = story.ask()
    story.ask()

    diagnosis = story.explain_one(first)

    assert diagnosis.kind is DiagnosisKind.OVER
    assert "a newer reset of the same user overtook it" in diagnosis.text


def test_the_country_is_blocked(client):
    story = Story(client, sms_countries=("DE",))
    assert story.ask("sms") is None

    diagnosis = story.explain()

    assert diagnosis.kind is DiagnosisKind.BLOCKED
    assert "KEYTURN_SMS_COUNTRIES" in diagnosis.next_step


@pytest.mark.parametrize(
    ("code", "words"),
    [("30005", "no SMS can be sent to this number"), ("30004", "the handset or its carrier")],
)
def test_the_number_is_blocked(story, code, words):
    story.tell_sms("undelivered", story.send("sms"), ErrorCode=code)

    diagnosis = story.explain()

    assert diagnosis.kind is DiagnosisKind.BLOCKED
    assert words in diagnosis.text
    assert "--channel email" in diagnosis.next_step


def test_every_status_has_a_diagnosis():
    assert set(BY_STATUS) == set(Status)


def test_the_chain_stands_in_order(story):
    reset_id = story.send()
    story.tell_mail("delivered", reset_id)
    story.set_password(code=story.code(reset_id))

    chain = story.steps()

    assert chain == [
        *("call", "limits", "queue", "attempt", "receipt", "opened", "completed", "deadline")
    ]


def test_no_diagnosis_names_an_address_or_a_code(story):
    story.tell_mail("bounce", story.send(), type="bounce", status="5.1.1")
    reset_id = story.ask("sms")

    told = explain_user(build_web_services(story.services), "ada")

    text = repr((told.diagnosis, told.timeline))
    assert "ada@example.com" not in text
    assert "+41791234567" not in text
    assert story.code(reset_id) not in text


def test_refusals_name_no_address(story):
    a_user(story.services, phone=None)
    story.ask("sms")
    story.services.suppressions.add(MAIL, reason="bounce", source="sendgrid")
    story.ask()

    kept = [story.redis.lrange(key, 0, -1) for key in story.redis.scan_iter("*:no:*")]
    assert len(kept[0]) == 2
    assert "ada@example" not in repr(kept)


def test_the_api_tells_the_same(story):
    reset_id = story.send()
    path = f"/keyturn/v1/resets/{reset_id}/explanation"

    told = story.call(path, method="GET", headers=story.headers()).get_json()

    diagnosis = story.explain_one(reset_id)
    assert (told["verdict"], told["next"], told["kind"]) == (
        *(diagnosis.text, diagnosis.next_step),
        diagnosis.kind.value,
    )
    assert [step["step"] for step in told["chain"]][:4] == ["call", "limits", "queue", "attempt"]
    assert json.dumps(told)


def test_every_recorded_refusal_can_be_explained():
    names = {error.__name__.removesuffix("Error") for error in RECORDED_ERRORS}

    assert names - {"TooManyRequests"} <= REFUSALS.keys()

"""One trace from the call through the queue to the provider and back; nothing of it when off."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from shared import tracing
from shared.errors import TransientProviderError
from shared.models import CallbackEvent, EventType
from tests.support.builders import a_token
from tests.support.delivery_services import TAKEN, ScriptedProvider, some_delivery_services
from web.app import create_app
from worker.receipts import ReceiptProcessor

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CALLER_TRACE = 0x0AF7651916CD43DD8448EB211C80319C


@pytest.fixture
def exporter():
    """What is traced in this test."""
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    tracing.trace_by(provider)
    yield kept
    tracing.trace_by(None)
    provider.shutdown()


@pytest.fixture
def worker(fake_client):
    refused = TransientProviderError("http_503", "try ada@example.com later")
    return some_delivery_services(fake_client, ScriptedProvider(refused, TAKEN))


def ask(worker, **headers):
    client = create_app(worker.services).test_client()
    told = {"Authorization": f"Bearer {a_token(worker.services, 'ORG_OWNER')}"} | headers
    return client.post("/users/ada/password/_reset", headers=told).headers["Keyturn-Reset-Id"]


def live_through(worker, **headers):
    """A call, an attempt that fails, one that is taken, and the provider's report."""
    reset_id = ask(worker, **headers)
    worker.deliver(reset_id)
    worker.again(reset_id)
    event = CallbackEvent(
        reset_id=reset_id,
        type=EventType.DELIVERED,
        provider="p1",
        message_id="m1",
        at_ms=int(worker.stores.now_ms()),
        event_id="e1",
    )
    for shard in worker.services.receipts.receive("p1", [event]):
        ReceiptProcessor(worker.services).apply(shard)
    return reset_id


def test_one_trace_leads_from_the_call_to_the_provider_and_back(worker, exporter):
    reset_id = live_through(worker, traceparent=CALLER)

    spans = exporter.get_finished_spans()
    assert {span.context.trace_id for span in spans} == {CALLER_TRACE}
    assert [span.name for span in spans] == [
        "reset.record",
        "POST /users/<user_id>/password/_reset",
        "provider.send",
        "reset.deliver",
        "provider.send",
        "reset.deliver",
        "receipt.apply",
    ]
    by_id = {span.context.span_id: span for span in spans}
    parents = [by_id[s.parent.span_id].name for s in spans if s.parent.span_id in by_id]
    assert parents == [
        "POST /users/<user_id>/password/_reset",
        "reset.deliver",
        "reset.record",
        "reset.deliver",
        "reset.record",
        "reset.record",
    ]
    ours = [s.attributes["keyturn.reset_id"] for s in spans if "keyturn.reset_id" in s.attributes]
    assert set(ours) == {reset_id}
    statuses = [s.attributes.get("keyturn.status") for s in spans if s.name == "reset.deliver"]
    assert statuses == ["retrying", "accepted"]


def test_a_call_without_a_trace_begins_one(worker, exporter):
    live_through(worker)

    traces = {span.context.trace_id for span in exporter.get_finished_spans()}
    assert len(traces) == 1
    assert CALLER_TRACE not in traces


def test_no_span_holds_an_address_a_code_or_the_text_of_an_error(worker, exporter):
    reset_id = live_through(worker)
    code = worker.services.codes.code(reset_id, worker.services.codes.signing_key_id)

    told = "\n".join(span.to_json() for span in exporter.get_finished_spans())

    failed = [s for s in exporter.get_finished_spans() if "error.type" in s.attributes]
    assert [s.attributes["error.type"] for s in failed] == ["TransientProviderError"]
    for secret in ("ada@example.com", "users/ada", code.formatted, "try "):
        assert secret not in told


def test_a_call_by_rpc_is_a_trace_too(worker, exporter):
    app = create_app(worker.services)
    app.test_client().post(
        "/zitadel.user.v2.UserService/PasswordReset",
        json={"userId": "ada", "returnCode": {}},
        headers={
            "Authorization": f"Bearer {a_token(worker.services, 'ORG_OWNER')}",
            "traceparent": CALLER,
        },
    )

    names = [span.name for span in exporter.get_finished_spans()]
    assert names == ["reset.record", "zitadel.user.v2.UserService/PasswordReset", "POST"]
    assert {s.context.trace_id for s in exporter.get_finished_spans()} == {CALLER_TRACE}


def test_what_machines_ask_all_day_is_not_traced(worker, exporter):
    create_app(worker.services).test_client().get("/livez")

    assert exporter.get_finished_spans() == ()


def test_off_nothing_of_it_stands_in_the_record(worker):
    reset_id = ask(worker, traceparent=CALLER)

    assert worker.look(reset_id).trace is None
    with tracing.span("x", parent=CALLER) as nothing:
        assert isinstance(nothing, tracing.NoSpan)
        assert tracing.traceparent() is None
    assert not tracing.set_up_tracing("web", {})


def test_a_traceparent_that_is_none_begins_a_trace(worker, exporter):
    ask(worker, traceparent="banana")

    assert len({span.context.trace_id for span in exporter.get_finished_spans()}) == 1

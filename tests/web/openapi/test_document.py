"""/openapi.json is true, and /docs shows it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
from datetime import UTC, datetime
from importlib.metadata import version

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from markupsafe import escape
from openapi_spec_validator import validate

from shared.errors import PasswordPolicyError
from shared.store.webhooks.deliveries import Webhook
from shared.store.webhooks.subscriptions import EVENTS
from shared.webhooks import build_body
from tests.support.batch_builders import a_batch
from tests.support.builders import a_token, a_user, an_organisation
from tests.support.wire_v2 import WireV2
from tests.test_architecture import CONSOLE_ROUTES, OPEN_ROUTES
from web import problems
from web.openapi.events import SUMMARIES
from web.openapi.pages import curl

PAGES = {route for route in OPEN_ROUTES if route.startswith(("/ui/", "/r/", "/dev/", "/console/"))}
PAGES |= {"/"} | CONSOLE_ROUTES
ITSELF = {
    "/.well-known/openid-configuration",
    "/.well-known/security.txt",
    "/openapi.json",
    "/docs",
}


# A code that was sent; an earlier version of the texts.
NEEDS_MORE = {
    "POST /v2/users/ada/password",
    "POST /keyturn/v1/organisations/demo/texts/_rollback",
}


def calls_of(document):
    for path, methods in document["paths"].items():
        for method, call in methods.items():
            yield path, method, call


def contents_of(document):
    for methods in (*document["paths"].values(), *document["webhooks"].values()):
        for call in methods.values():
            for message in (call.get("requestBody", {}), *call["responses"].values()):
                yield from message.get("content", {}).values()


def schema_of(document, content):
    schema = content["schema"] | {"components": document["components"]}
    return Draft202012Validator(schema, format_checker=FormatChecker())


def test_it_is_a_sound_openapi_document(document):
    validate(document)


def test_it_describes_every_rest_call_and_no_other(wire, document):
    routes = {
        (re.sub(r"<(\w+)>", lambda m: "{" + m[1].replace("_id", "Id") + "}", rule.rule), method)
        for rule in wire.app.url_map.iter_rules()
        if rule.rule not in PAGES | ITSELF
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }

    assert {(path, method.upper()) for path, method, _ in calls_of(document)} == routes


def test_every_error_of_the_table_stands_somewhere(document):
    told = json.dumps(document)
    kinds = set(problems.CODES) - {PasswordPolicyError}

    missing = {
        kind.__name__
        for kind in kinds
        if f'"{kind.id}"' not in told and f'"{kind.__name__.removesuffix("Error")}"' not in told
    }

    assert missing == {"MethodNotAllowedError"}  # of no call that is described
    assert all(f'"{error_id}"' in told for error_id in PasswordPolicyError.IDS.values())


def test_every_event_of_a_subscription_is_described(document):
    assert set(document["webhooks"]) == set(SUMMARIES) == set(EVENTS)


@pytest.mark.parametrize("word", ["failed", "completed"])
def test_a_webhook_is_as_described(document, word):
    at = datetime(2026, 11, 23, 12, tzinfo=UTC)
    told = {"user_id": "ada", "org_id": "acme", "channel": "sms", "status": "failed"}
    webhook = Webhook("hook_1", "a-reset", word, at, reason=None, **told)
    content = document["webhooks"][webhook.event]["post"]["requestBody"]["content"]

    sent = json.loads(build_body(webhook))

    schema_of(document, content["application/json"]).validate(sent)
    schemas = document["components"]["schemas"]
    assert set(sent) == set(schemas["Webhook"]["properties"])
    assert set(sent["data"]) == set(schemas["WebhookData"]["properties"])


def test_every_example_is_as_described(document):
    examples = 0
    for content in contents_of(document):
        values = [each["value"] for each in content.get("examples", {}).values()]
        for value in [*values, *([content["example"]] if "example" in content else [])]:
            schema_of(document, content).validate(value)
            examples += 1

    assert examples > 300


def test_examples_of_bodies_are_taken(wire, document):
    for path, method, call in calls_of(document):
        if path.startswith("/callbacks/"):  # signed; see test_callbacks.py
            continue
        content = call.get("requestBody", {}).get("content", {}).get("application/json", {})
        for example in content.get("examples", {}).values():
            body = json.dumps(example["value"])
            a_user(wire.services)  # an earlier call may have erased it
            an_organisation(wire.services, "gone")
            if "verificationCode" in body:
                code = wire.a_code()
                body = body.replace("7KQM-ZR5W", f"{code[:4]}-{code[4:]}")
            reset_id = wire.reset().headers["Keyturn-Reset-Id"]
            if path.endswith("_release"):
                wire.services.waiting.hold(reset_id, by="eve", reason="a test")
            batch_id = a_batch(wire.services, "ada", org_ids=frozenset({"acme"})).batch_id
            if path.endswith("batchId}/_resume"):
                wire.call(path.format(batchId=batch_id).replace("_resume", "_pause"),
                          headers=wire.headers())  # fmt: skip
            owner = a_token(wire.services, "ORG_OWNER", instance=("IAM_OWNER",))
            arguments = {"data": body, "headers": wire.headers(owner, If_Match="*")}
            ids = {"userId": "ada", "language": "de"}
            ids["orgId"] = "gone" if path.endswith("_remove") else "acme"
            place = path.format(resetId=reset_id, batchId=batch_id, **ids)
            if path.endswith("_rollback"):
                wire.services.profiles.save_text(
                    "acme", "fr", {"reset.code": "x"}, version=0, by="eve", reason="a test"
                )

            response = wire.call(place, method=method.upper(), **arguments)

            assert str(response.status_code) in call["responses"], (path, example)
            assert response.status_code < 300, (path, example)


def test_the_base_is_the_public_address(fake_client):
    wire = WireV2(fake_client, public_url="https://example.com/keyturn")

    document = wire.call("/openapi.json", method="GET").get_json()

    assert document["servers"] == [{"url": "https://example.com/keyturn"}]
    assert 'href="/keyturn/openapi.json"' in wire.call("/docs", method="GET").get_data(as_text=True)


def test_the_page_shows_every_call_and_error(wire, document):
    page = wire.call("/docs", method="GET").get_data(as_text=True)

    for path, _, call in calls_of(document):
        assert path in page
        assert escape(call["summary"]) in page
    for event, methods in document["webhooks"].items():
        assert event in page
        assert escape(methods["post"]["summary"]) in page
    assert "KEYTURN-RateLimited" in page
    assert "Idempotency-Key" in page


def test_the_page_loads_nothing_and_runs_its_own_script_alone(wire):
    response = wire.call("/docs", method="GET")
    page = response.get_data(as_text=True)

    assert response.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src")
    assert "unsafe" not in response.headers["Content-Security-Policy"]
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)[1]
    style_hash = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{style_hash}'" in response.headers["Content-Security-Policy"]
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)[1]
    script_hash = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{script_hash}'" in response.headers["Content-Security-Policy"]
    assert page.count("<script") == 1
    assert not re.search(r"<(link|img|iframe)\b|@import|url\(|style=| on\w+=", page)


def test_the_page_has_an_index_and_tells_each_error_once(wire, document):
    page = wire.call("/docs", method="GET").get_data(as_text=True)
    links, ids = (set(re.findall(rf'{name}="#?([^"/]+)"', page)) for name in ("href", "id"))

    assert {call["operationId"] for _, _, call in calls_of(document)} <= links & ids
    assert links <= ids
    assert page.count("Too many requests (cooldown") == 3  # its line, and in what is sent twice
    assert "ZITADEL replaced its v1 API" in page


def test_the_document_has_the_version_of_the_package(document):
    assert document["info"]["version"] == version("keyturn")


def test_every_command_is_what_a_shell_takes(document):
    for path, method, call in calls_of(document):
        words = shlex.split(curl("http://127.0.0.1:8080", method, path, call))
        is_signed = any(set(each) - {"token"} for each in call.get("security", []))
        assert bool(words) != is_signed
        if words:
            assert words[:3] == ["curl", "-X", method.upper()]
            assert not re.search(r"[{}]", words[3])


def test_every_command_that_needs_no_earlier_answer_is_taken_by_the_demo(wire, document):
    refused = {}
    for path, method, call in calls_of(document):
        words = shlex.split(curl("", method, path, call))
        if not words or "$" in words[3] or words[-1] == "@FILE":
            continue
        an_organisation(wire.services, "demo")  # some commands erase it, or her
        a_user(wire.services, "ada", orgId="demo")
        token = a_token(wire.services, org_id="demo", instance=("IAM_OWNER",))
        said = dict(each.split(": ", 1) for each in words if re.match(r"[A-Z][\w-]+: ", each))
        headers = {"Authorization": f"Bearer {token}", "x-zitadel-orgid": "demo"}
        body = {"data": words[-1]} if words[-2] == "-d" else {}
        kind = said.get("Content-Type", "application/json")
        answer = wire.call(words[3], method=words[2], headers=headers, content_type=kind, **body)
        if answer.status_code in (400, 403, 404, 405, 415, 500):
            refused[f"{words[2]} {words[3]}"] = answer.get_data(as_text=True)

    assert refused.keys() == NEEDS_MORE, refused

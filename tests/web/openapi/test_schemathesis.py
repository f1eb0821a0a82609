"""Schemathesis reads /openapi.json and tries every call: nothing answers otherwise."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.core.failures import FailureGroup

from shared.models import Queue
from tests import EXAMPLES
from tests.support.builders import a_user
from tests.support.fakes import FakeRedis
from tests.support.wire_v2 import WireV2
from web.schemas import ResponseSchema


def response_names(kind=ResponseSchema):
    for each in kind.__subclasses__():
        yield each.__name__.removesuffix("Schema")
        yield from response_names(each)


def strict(document):
    """The schemas of what Keyturn writes; each with no field but those described."""
    schemas = document["components"]["schemas"]
    return {name: schemas[name] | {"additionalProperties": False} for name in response_names()}


WIRE = WireV2(FakeRedis())
DOCUMENT = WIRE.call("/openapi.json", method="GET").get_json()
DOCUMENT["components"]["schemas"] |= strict(DOCUMENT)
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
SCHEMA.app = WIRE.app
WORKER = f"{Queue.URGENT.value} of the test"
load_all_checks()
LINES = "application/x-ndjson"
schemathesis.serializer.alias(LINES, "text/plain")
# In lines of text a number is its digits, which may be somebody's id.
NOT_OF_LINES = schemathesis.checks.CHECKS.get_by_names(["negative_data_rejection"])
# What is understood may still be refused with 400: so says the table of errors. The check below
# takes its place.
TOO_STRICT = schemathesis.checks.CHECKS.get_by_names(["positive_data_acceptance"])

# These also fit texts/{language}, whose methods the header Allow names too.
TWO_ROUTES = ("/texts/history", "/texts/_rollback")
METHODS_ALLOWED = schemathesis.checks.CHECKS.get_by_names(["allow_header_conformance"])


@schemathesis.check
def what_is_described_is_understood(_context, response, case):
    """Refused as not understood (code 3, no id) is only what the shapes do not describe."""
    is_described = case.meta is None or case.meta.generation.mode is GenerationMode.POSITIVE
    if is_described and response.status_code == 400:
        body = response.json()
        assert body["code"] != 3 or "details" in body, body["message"]


@pytest.mark.timeout(600 + 50 * EXAMPLES)
@SCHEMA.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def test_schemathesis_finds_nothing(case):
    WIRE.services.dues.heartbeat(WORKER)
    excluded = TOO_STRICT + (NOT_OF_LINES if case.media_type == LINES else [])
    excluded += METHODS_ALLOWED if case.path.endswith(TWO_ROUTES) else []

    case.call_and_validate(headers=WIRE.headers(), excluded_checks=excluded)


@pytest.mark.parametrize("body", [b"", {"returnCode": {}}])
def test_a_reset_that_exists_is_shown_as_described(body):
    a_user(WIRE.services, "bob")  # of its own: other tests may have erased or limited ada
    reset_id = WIRE.reset_v2("bob", body=body).headers["Keyturn-Reset-Id"]
    case = SCHEMA["/keyturn/v1/resets/{resetId}"]["get"].Case(path_parameters={"resetId": reset_id})

    response = case.call_and_validate(headers=WIRE.headers())

    assert response.status_code == 200


def an_undocumented_status(document):
    del document["paths"]["/keyturn/v1/resets/{resetId}"]["get"]["responses"]["404"]


def a_field_that_is_not_there(document):
    document["components"]["schemas"]["Problem"]["required"].append("reason")


def a_header_that_is_not_there(document):
    answer = document["paths"]["/keyturn/v1/resets/{resetId}"]["get"]["responses"]["404"]
    answer["headers"]["Retry-After"] = {"required": True, "schema": {"type": "string"}}


def a_type_that_is_not_sent(document):
    answer = document["paths"]["/keyturn/v1/resets/{resetId}"]["get"]["responses"]["404"]
    answer["content"]["application/problem+json"] = answer["content"].pop("application/json")


@pytest.mark.parametrize(
    "lie",
    [
        an_undocumented_status,
        a_field_that_is_not_there,
        a_header_that_is_not_there,
        a_type_that_is_not_sent,
    ],
)
def test_schemathesis_finds_a_lie(wire, document, lie):
    lie(document)
    schema = schemathesis.openapi.from_dict(document)
    case = schema["/keyturn/v1/resets/{resetId}"]["get"].Case(path_parameters={"resetId": "x"})
    response = case.call(app=wire.app, base_url="http://localhost", headers=wire.headers())

    with pytest.raises(FailureGroup):
        case.validate_response(response)

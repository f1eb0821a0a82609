from __future__ import annotations

import json
from io import BytesIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.wire import BARE, V1, Wire, problem

CAP_BYTES = 64 * 1024


@pytest.fixture
def wire(fake_client):
    return Wire(fake_client)


@pytest.mark.parametrize(
    ("body", "channel"),
    [
        pytest.param(b"", "email", id="empty"),
        pytest.param(b" \t\r\n ", "email", id="white space"),
        pytest.param(b"{}", "email", id="empty object"),
        pytest.param(b" {} \n", "email", id="object with white space around it"),
        pytest.param(b'{"type":"TYPE_EMAIL"}', "email", id="e-mail by name"),
        pytest.param(b'{"type":0}', "email", id="e-mail by number"),
        pytest.param(b'{"type":0.0}', "email", id="e-mail by a float"),
        pytest.param(b'{"type":-0}', "email", id="e-mail by minus nought"),
        pytest.param(b'{"type":null}', "email", id="null"),
        pytest.param(b'{"type":"TYPE_SMS"}', "sms", id="sms by name"),
        pytest.param(b'{"type":1}', "sms", id="sms by number"),
        pytest.param(b'{"type":1.0}', "sms", id="sms by a float"),
        pytest.param(b'{"type":1e0}', "sms", id="sms by an exponent"),
        pytest.param(b'{"type":"TYPE\\u005fSMS"}', "sms", id="sms with an escape"),
        pytest.param(b'{"medium":"x","n":{"a":[1]}}', "email", id="unknown fields"),
        pytest.param(b'{"type_":1}', "email", id="unknown field that resembles type"),
        pytest.param(b'{"Type":1}', "email", id="unknown field in another case"),
        pytest.param(b'{"userId":"other"}', "email", id="the path's user wins"),
        pytest.param(b'{"user_id":"other"}', "email", id="the path's user wins over snake case"),
        pytest.param(b'{"userId":null}', "email", id="no user in the body"),
        pytest.param('{"x":"ä🎉"}'.encode(), "email", id="UTF-8"),
    ],
)
@pytest.mark.parametrize("path", [V1, BARE], ids=["prefixed", "bare"])
def test_a_body_asks_for_a_channel(wire, path, body, channel):
    response = wire.reset(body=body, path=path)

    assert response.status_code == 200
    assert wire.channel_of(response) == channel
    assert wire.services.resets.find(response.headers["Keyturn-Reset-Id"]).user_id == "ada"


REFUSED = {
    "unknown name": b'{"type":"TYPE_PIGEON"}',
    "lower case name": b'{"type":"sms"}',
    "number as a text": b'{"type":"1"}',
    "empty name": b'{"type":""}',
    "number too large": b'{"type":2}',
    "number too small": b'{"type":-1}',
    "number far too large": b'{"type":99999999999999999999}',
    "true": b'{"type":true}',
    "false": b'{"type":false}',
    "object": b'{"type":{}}',
    "list": b'{"type":[1]}',
    "fraction": b'{"type":1.5}',
    "infinite": b'{"type":1e999}',
    "NaN": b'{"type":NaN}',
    "duplicate key": b'{"type":1,"type":1}',
    "duplicate unknown key": b'{"x":1,"x":2}',
    "both spellings": b'{"userId":"a","user_id":"a"}',
    "user id is a number": b'{"userId":5}',
    "user id is a list": b'{"user_id":["ada"]}',
    "null body": b"null",
    "list body": b"[]",
    "text body": b'"x"',
    "number body": b"5",
    "truncated": b'{"type":1',
    "malformed": b"{type:1}",
    "single quotes": b"{'type':1}",
    "trailing comma": b'{"type":1,}',
    "second value": b'{"type":1}{}',
    "garbage behind": b'{"type":1} x',
    "comment": b'{"type":1}//',
    "byte order mark": b"\xef\xbb\xbf{}",
    "no-break space": b"\xc2\xa0",
    "half a surrogate pair": b'{"x":"\\ud800"}',
    "invalid UTF-8": b'{"x":"\xff"}',
    "UTF-16": '{"type":1}'.encode("utf-16"),
    "control character in a text": b'{"x":"\x01"}',
    "nested too deep": b"[" * 60_000,
    "objects nested too deep": b'{"a":' * 10_000,
    "thousands of digits": b'{"type":' + b"1" * 5_000 + b"}",
    "form fields": b"type=1",
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED)
def test_a_body_is_refused(wire, body):
    response = wire.reset(body=body)

    assert problem(response) == (400, 3, None)
    assert wire.records() == []


@pytest.mark.parametrize("body", [b'{"type":"TYPE_PIGEON"}', b'{"type":2}'])
def test_the_refusal_of_an_enum_names_the_allowed_values(wire, body):
    message = wire.reset(body=body).get_json()["message"]

    assert "TYPE_EMAIL" in message
    assert "TYPE_SMS" in message


@pytest.mark.parametrize(
    "content_type", ["application/json", "text/plain", "application/x-www-form-urlencoded", "", "x"]
)
def test_any_content_type_is_read_as_json(wire, content_type):
    response = wire.reset(body={"type": "TYPE_SMS"}, Content_Type=content_type)

    assert wire.channel_of(response) == "sms"


def test_a_body_of_64_kib_is_read(wire):
    body = b'{"type":1' + b" " * (CAP_BYTES - 10) + b"}"

    response = wire.reset(body=body)

    assert len(body) == CAP_BYTES
    assert wire.channel_of(response) == "sms"


def test_a_larger_body_is_refused(wire):
    response = wire.reset(body=b" " * (CAP_BYTES + 1))

    assert problem(response) == (413, 8, None)
    assert "details" not in response.get_json()


def call_with_input(wire, stream, **environ):
    base = {"wsgi.input": stream, "CONTENT_LENGTH": "", "CONTENT_TYPE": "application/json"}
    client = wire.app.test_client()
    return client.post(V1.format("ada"), headers=wire.headers(), environ_overrides=base | environ)


def test_a_body_shorter_than_announced_is_refused(wire):
    response = call_with_input(wire, BytesIO(b"{}"), CONTENT_LENGTH="10")

    assert problem(response) == (400, 3, None)


def test_a_chunked_body_is_read_no_further_than_the_cap(wire):
    body = BytesIO(b" " * 100 * 8192)

    response = call_with_input(wire, body, HTTP_TRANSFER_ENCODING="chunked")

    assert problem(response) == (413, 8, None)
    assert body.tell() == CAP_BYTES + 1


BODIES = st.one_of(
    st.binary(max_size=300),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["type", "userId", "user_id", "x"]), inner)
        ),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode()),
    st.text(alphabet='{}[]":,type01.eE-\\u ', max_size=40).map(str.encode),
)


@given(body=BODIES)
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@pytest.mark.parametrize("path", [V1, "/v2/users/{}/password_reset"], ids=["v1", "v2"])
def test_no_body_does_harm(wire, path, body):
    response = wire.reset(body=body, path=path)

    if response.status_code == 200:
        assert response.get_json()["details"]["resourceOwner"] == "acme"
    else:
        assert problem(response) == (400, 3, None)

"""An application that answers wrongly, late or not at all; the right answers: tests/contracts."""

from __future__ import annotations

import json
from urllib.parse import unquote

import pytest
from flask import Flask, Response, request
from standardwebhooks import Webhook

from shared.errors import (
    DirectoryUnavailableError,
    PasswordPolicyError,
    SettingsError,
    UserChangedError,
)
from shared.models import User
from tests.support.directories import HTTP_SECRET, an_http_directory, serving

ADA = User("ada", "acme")
JSON = "application/json"


class Application:
    """Answers every call with what the test says, and keeps what it was sent."""

    def __init__(self):
        self.answer = (200, JSON, '{"userId": "ada", "orgId": "acme"}')
        self.posted = None
        self.calls = []
        self.app = Flask(__name__)
        self.app.add_url_rule("/<path:_>", view_func=self.view, methods=["GET", "POST"])

    def view(self, _):
        self.calls.append((request.method, request.full_path, dict(request.headers), request.data))
        status, kind, body = (self.posted if request.method == "POST" else None) or self.answer
        return Response(body, status, content_type=kind)


@pytest.fixture
def application():
    return Application()


@pytest.fixture
def directory(application):
    with serving(application.app) as url:
        yield an_http_directory(f"{url}/keyturn")


def user(**fields):
    return 200, JSON, json.dumps({"userId": "ada", "orgId": "acme"} | fields)


LIES = {
    "another user": user(userId="bob"),
    "another case": user(userId="ADA"),
    "no id": (200, JSON, '{"orgId": "acme"}'),
    "no organisation": (200, JSON, '{"userId": "ada"}'),
    "an id of another type": user(userId=7),
    "a list": (200, JSON, "[]"),
    "a text": (200, JSON, '"ada"'),
    "nothing": (200, JSON, ""),
    "no JSON": (200, JSON, "{"),
    "HTML": (200, "text/html", "<h1>Sign in</h1>"),
    "JSON that calls itself HTML": (200, "text/html", user()[2]),
    "2 MB": user(displayName="x" * 2_000_000),
    "300 KB": user(more="x" * 300_000),
    "a wrong address": user(email="ada@"),
    "an address with a newline": user(email="ada@example.com\nBcc: eve@example.com"),
    "a number of 40 digits": user(phone="+" + "1" * 40),
    "a text for a flag": user(emailVerified="yes"),
    "a number for a name": user(displayName=5),
    "an unknown state": user(state="gone"),
    "a revision of another type": user(revision=5),
    "a flag of another type": user(changeRequired="no"),
    "401": (401, JSON, "{}"),
    "403": (403, JSON, "{}"),
    "500": (500, JSON, "{}"),
    "a redirect": (302, JSON, "{}"),
    "204": (204, JSON, ""),
}


@pytest.mark.parametrize("answer", LIES.values(), ids=LIES)
def test_an_answer_that_is_wrong_is_none(application, directory, answer):
    application.answer = answer

    for call in (lambda: directory.find_user("ada"), lambda: directory.set_password(ADA, "x")):
        with pytest.raises(DirectoryUnavailableError):
            call()
    assert [method for method, *_ in application.calls] == ["GET", "GET"]


@pytest.mark.parametrize(
    "listed", ["{}", '{"users": {}}', '{"users": [5]}', '{"users": [{}]}', "[]"]
)
def test_a_list_that_is_wrong_is_none(application, directory, listed):
    application.answer = (200, JSON, listed)

    with pytest.raises(DirectoryUnavailableError):
        directory.find_by_identifier("ada", None)


def test_a_list_holds_those_who_have_the_identifier_and_no_others(application, directory):
    users = [{"userId": name, "orgId": "acme", "userName": name} for name in ("bob", "ada", "ada")]
    application.answer = (200, JSON, json.dumps({"users": users}))

    assert [each.user_id for each in directory.find_by_identifier("Ada", None)] == ["ada"]


def test_calls_that_are_not_offered_find_nobody(application, directory):
    application.answer = (404, "text/html", "Not Found")

    assert directory.find_user("ada") is None
    assert directory.find_by_identifier("ada", None) == []
    assert not directory.has_password(ADA, "x")


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, UserChangedError), (409, UserChangedError), (422, PasswordPolicyError),
     (400, DirectoryUnavailableError), (302, DirectoryUnavailableError)],
)  # fmt: skip
def test_what_a_refused_password_means(application, directory, status, error):
    application.posted = (status, JSON, "{}")

    with pytest.raises(error):
        directory.set_password(ADA, "New-password-2")


@pytest.mark.parametrize("answer", [(204, JSON, ""), (200, JSON, "{}"), (200, "text/plain", "OK")])
def test_a_taken_password_needs_no_body(application, directory, answer):
    application.posted = answer

    assert directory.set_password(ADA, "New-password-2") == ADA


@pytest.mark.parametrize("matches", ["1", '"true"', "null"])
def test_a_comparison_that_is_no_flag_is_none(application, directory, matches):
    application.posted = (200, JSON, f'{{"matches": {matches}}}')

    with pytest.raises(DirectoryUnavailableError):
        directory.has_password(ADA, "x")


@pytest.mark.parametrize("user_id", ["a b", "ü#%", "..%2f", "auth0|x", "ada@example.com"])
def test_a_call_is_signed_with_its_method_and_whom_it_is_about(application, directory, user_id):
    application.answer = user(userId=user_id)
    directory.set_password(User(user_id, "acme"), "New-password-2", change_required=True)

    (get, path, headers, body), (post, _, signed, sent) = application.calls
    assert path == f"/keyturn/users/{user_id}?"
    for method, given in ((get, headers), (post, signed)):
        assert given["Webhook-Id"].split(":")[0] == method
        assert unquote(given["Webhook-Id"].split(":")[1]) == user_id
    assert body == b""
    assert Webhook(HTTP_SECRET).verify(sent, {k.lower(): v for k, v in signed.items()}) == {
        "password": "New-password-2", "changeRequired": True, "revision": None,
    }  # fmt: skip


def test_an_application_that_is_not_there_is_away():
    directory = an_http_directory("http://127.0.0.1:1")

    with pytest.raises(DirectoryUnavailableError):
        directory.find_user("ada")
    assert [each.level for each in directory.inspect()] == ["away"]


@pytest.mark.parametrize(
    "url", ["", "ftp://h", "http://app.example", "https://u:p@h", "https://h?x=1"]
)
def test_a_wrong_url_is_refused(url):
    with pytest.raises(SettingsError, match="KEYTURN_DIRECTORY_URL"):
        an_http_directory(url)


@pytest.mark.parametrize(("status", "calls"), [(400, 9), (403, 9), (422, 9), (429, 5), (500, 5)])
def test_errors_of_the_server_alone_shut_the_circuit(application, directory, status, calls):
    application.answer = (status, JSON, "{}")

    for _ in range(9):
        with pytest.raises(DirectoryUnavailableError):
            directory.find_user("ada")

    assert len(application.calls) == calls


def test_a_revision_goes_back_as_it_came(application, directory):
    application.answer, application.posted = user(revision="r" * 300), (204, JSON, "")
    directory.set_password(ADA, "New-password-2")

    assert json.loads(application.calls[-1][3])["revision"] == "r" * 300

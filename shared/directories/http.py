"""The directory of an application that answers two signed calls over HTTP.

The calls and their JSON Schema: docs/directory-http.md.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import orjson

from shared.directories.gate import (
    CALLS_AT_ONCE,
    Finding,
    Gate,
    OutsideDirectory,
    choose_users,
    describe_user,
    is_id,
    read_identifier,
    refuse,
)
from shared.directories.user_import import read_fields
from shared.errors import (
    DirectoryUnavailableError,
    PasswordPolicyError,
    ProviderError,
    SettingsError,
    UserChangedError,
)
from shared.models import User, make_user
from shared.passwords.policy import normalise_password
from shared.providers.transport.http import HttpAnswer, Transport
from shared.providers.transport.signing import signed_headers
from shared.settings.types import https_url

MAX_ANSWER_BYTES = 256 * 1024
NO_USER = "-"  # whose password is compared in place of a user who does not exist
SERVER_ERRORS = (HTTPStatus.TOO_MANY_REQUESTS, *range(500, 600))
FIELDS = ("userId", "orgId", "state", "kind", "userName", "displayName", "language",
          "email", "emailVerified", "phone", "phoneVerified")  # fmt: skip


class HttpDirectory(OutsideDirectory):
    """Fulfils Directory by calls to the application; an answer that is wrong is none."""

    def __init__(self, url: str, secret: str, *, org_id: str, timeout_seconds: float) -> None:
        """Connect with the first call. `org_id` is everyone's whose answer names none.

        Raises:
            SettingsError: the URL is wrong.
        """
        try:
            parts = urlsplit(https_url(url))
        except ValueError as error:
            raise SettingsError(f"KEYTURN_DIRECTORY_URL: {error}") from None
        self._path, self._secret, self._org_id = parts.path.rstrip("/"), secret, org_id
        self._transport = Transport(
            f"{parts.scheme}://{parts.netloc}", timeout_seconds=timeout_seconds
        )
        self.gate = Gate(wait_seconds=timeout_seconds)

    def find_user(self, user_id: str) -> User | None:
        """Return the user, or None if the id is unknown."""
        if not is_id(user_id) or user_id in (".", ".."):
            return None
        answer = self._call("GET", user_id, f"/users/{quote(user_id, safe='')}")
        return None if answer is None else self._user(answer, user_id)

    def find_users(self, user_ids: Sequence[str]) -> list[User | None]:
        """Return what `find_user` returns for each; a few calls at a time."""
        with ThreadPoolExecutor(CALLS_AT_ONCE // 2) as callers:
            return list(callers.map(self.find_user, user_ids))

    def find_by_identifier(self, identifier: str, org_id: str | None) -> list[User]:
        """Return whose e-mail address, phone number or user name this is, by id.

        An application without this call knows none.
        """
        wanted = read_identifier(identifier)
        if wanted is None:
            return []
        target = "/users?" + urlencode({"identifier": wanted})
        answer = self._call("GET", wanted, target)
        listed = [] if answer is None else answer.get("users")
        if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
            raise refuse("`users` is no list of users")
        return choose_users(map(self._user, listed), wanted, org_id)

    def set_password(
        self,
        user: User,
        password: str,
        *,
        change_required: bool = False,
        only_if: Callable[[User], bool] | None = None,
    ) -> User:
        """Hand over the user's new password; return the user as it was just before.

        `only_if` is asked right before; the application is told the revision that it gave.

        Raises:
            PasswordPolicyError: the application refuses this password.
        """
        now = self.find_user(user.user_id)
        if now is None or (only_if and not only_if(now)):
            raise UserChangedError
        given = {"password": normalise_password(password), "changeRequired": change_required}
        body = orjson.dumps({**given, "revision": now.revision or None})
        with self.gate.call():
            answer = self._send("POST", user.user_id, _password_path(user.user_id), body)
        if answer.status in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
            raise UserChangedError
        if answer.status == HTTPStatus.UNPROCESSABLE_ENTITY:
            raise PasswordPolicyError("application")
        if answer.status not in (HTTPStatus.OK, HTTPStatus.NO_CONTENT):
            raise refuse(f"the answer has status {answer.status}")
        return now

    def has_password(self, user: User | None, password: str) -> bool:
        """Return True if the application says so; it is asked without a user too."""
        about = user.user_id if user else NO_USER
        body = orjson.dumps({"password": normalise_password(password)})
        target = f"{_password_path(about)}/_verify"
        answer = self._call("POST", about, target, body) or {"matches": False}
        if not isinstance(answer.get("matches"), bool):
            raise refuse("`matches` is neither true nor false")
        return user is not None and answer["matches"]

    def inspect(self, user_id: str = "", *, writes: bool = False) -> Iterator[Finding]:
        """Ask for the sample user, or for one whom the application cannot know; change nothing."""
        try:
            user = self.find_user(user_id or NO_USER)
        except DirectoryUnavailableError:
            yield Finding("away", "the application does not answer as docs/directory-http.md says; "
                                  "the log event directory.unavailable says why")  # fmt: skip
            return
        yield Finding(
            "ok", f"the application answers: {describe_user(user) if user else 'no user'}"
        )
        if writes:
            yield Finding(
                "warning", "setting a password was not tried: the application has no way back"
            )

    def close(self) -> None:
        """Close the idle connections."""
        self._transport.close()

    def _call(
        self, method: str, about: str, target: str, body: bytes = b""
    ) -> dict[str, Any] | None:
        """Return the JSON object of a 200; None for a 404.

        Raises:
            DirectoryUnavailableError: there is no answer, or another one; only those that are late
                or none, and errors of the server, count for the circuit.
        """
        with self.gate.call():
            found = self._send(method, about, target, body)
            if not found.is_complete:
                raise refuse("the answer broke off, came too slowly, or has more than 1 MiB")
        if found.status == HTTPStatus.NOT_FOUND:
            return None
        if found.status != HTTPStatus.OK:
            raise refuse(f"the answer has status {found.status}")
        if len(found.body) > MAX_ANSWER_BYTES:
            raise refuse("the answer has more than 256 KiB")
        if found.headers.get_content_type() != "application/json":
            raise refuse("the answer is not application/json")
        try:
            answer = orjson.loads(found.body)
        except ValueError:
            raise refuse("the answer is not JSON") from None
        if not isinstance(answer, dict):
            raise refuse("the answer is no JSON object")
        return answer

    def _send(self, method: str, about: str, target: str, body: bytes) -> HttpAnswer:
        """Make one signed call; return any answer but an error of the server.

        Its id begins with the method and what it is about, since the signature covers no path.
        """
        call_id, at = f"{method}:{quote(about, safe='')}:{secrets.token_hex(8)}", int(time.time())
        headers = {"Accept": "application/json"}
        headers |= signed_headers((self._secret,), call_id, at, body)
        try:
            answer = self._transport.call(method, self._path + target, headers=headers, body=body)
        except ProviderError as error:
            raise refuse(error.reason) from error
        if answer.status in SERVER_ERRORS:
            raise refuse(f"the answer has status {answer.status}")
        return answer

    def _user(self, answer: Mapping[str, Any], user_id: str | None = None) -> User:
        """Return the user of an answer; `user_id` is who was asked for.

        Raises:
            DirectoryUnavailableError: the answer is about another user, or breaks the schema.
        """
        named = {"orgId": self._org_id} | {
            name: answer[name] for name in FIELDS if answer.get(name) is not None
        }
        revision, required = answer.get("revision"), answer.get("changeRequired")
        try:
            fields = read_fields(named)
        except ValueError as error:
            raise refuse(f"the answer breaks the schema: {error}") from None
        if user_id is not None and fields["userId"] != user_id:
            raise refuse("the answer is about another user")
        if not isinstance(revision, str | None) or not isinstance(required, bool | None):
            raise refuse("the answer breaks the schema: revision or changeRequired")
        given = {"changeRequired": "1" if required else "", "revision": revision or ""}
        return make_user(fields | given)


def _password_path(user_id: str) -> str:
    return f"/users/{quote(user_id, safe='')}/password"

"""ZITADEL's v2 calls over REST in one process."""

from __future__ import annotations

import json
from typing import Any

from tests.support.wire import Wire

RESET = "/v2/users/{}/password_reset"
PASSWORD = "/v2/users/{}/password"
GOOD = "Correct-horse-1"
RETURN = {"returnCode": {}}
WRONG = "WRNG2345"  # as long as a typed code


class WireV2(Wire):
    """The same installation, asked by v2."""

    def reset_v2(self, user_id: str = "ada", body: Any = b"", **headers: str):
        """PasswordReset; `body` is JSON unless it is bytes."""
        return self._post(RESET.format(user_id), body, headers)

    def set_password(self, user_id: str = "ada", *, password: Any = GOOD, **more: Any):
        """SetPassword; `code`, `current` and `required` are spelled as the call does."""
        new = {} if password is None else {"password": password}
        if (required := more.pop("required", None)) is not None:
            new["changeRequired"] = required
        body: dict[str, Any] = {"newPassword": new}
        if (code := more.pop("code", None)) is not None:
            body["verificationCode"] = code
        if (current := more.pop("current", None)) is not None:
            body["currentPassword"] = current
        return self._post(PASSWORD.format(user_id), body, more)

    def a_code(self, user_id: str = "ada") -> str:
        """A fresh live code of a user."""
        return self.reset_v2(user_id, RETURN).get_json()["verificationCode"]

    def has_password(self, password: str, user_id: str = "ada") -> bool:
        """True when that is the user's password now."""
        user = self.services.directory.find_user(user_id)
        return self.services.directory.has_password(user, password)

    def stored_words(self) -> str:
        """Everything that stands in the store, names and values, as one text."""
        return "\n".join(f"{key}\n{self._value(key)}" for key in self.redis.keys("*"))

    def _value(self, key: str) -> str:
        match self.redis.type(key):
            case "string":
                return self.redis.get(key)
            case "hash":
                return repr(self.redis.hgetall(key))
            case "zset":
                return repr(self.redis.zrange(key, 0, -1, withscores=True))
            case "set":
                return repr(self.redis.smembers(key))
            case "list":
                return repr(self.redis.lrange(key, 0, -1))
            case "stream":
                return repr(self.redis.xrange(key))
            case kind:
                raise AssertionError(f"{key} is a {kind}")

    def _post(self, path: str, body: Any, headers: dict[str, str]):
        data = body if isinstance(body, bytes) else json.dumps(body)
        token = headers.pop("token", None)
        return self.call(path, data=data, headers=self.headers(token, **headers))


def wrong(code: str) -> str:
    """A code that is not this one."""
    return ("3" if code[0] == "2" else "2") + code[1:]


def typed_code(wire: WireV2, user_id: str = "ada") -> str:
    """The typed code of a user's newest reset."""
    newest = wire.services.resets.find_of_user(user_id)[0]
    return wire.services.codes.code(newest.reset_id, newest.key_id).formatted

"""The REST wire in one process: the application over a store, and a caller who may reset."""

from __future__ import annotations

import json
from typing import Any

from shared.store import keys
from shared.wiring import build_services
from tests.support.builders import a_settings, a_token, a_user, an_organisation
from tests.support.fakes import FakeHints
from web.app import create_app

V1 = "/management/v1/users/{}/password/_reset"
BARE = "/users/{}/password/_reset"
ERROR_DETAIL = "type.googleapis.com/zitadel.v1.ErrorDetail"
RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"


class Wire:
    """An installation with the organisation `acme`, its user `ada` and a caller's token."""

    def __init__(self, client: Any, **settings: Any) -> None:
        self.redis = client
        self.hints = FakeHints()
        self.services = build_services(a_settings(**settings), client=client, hints=self.hints)
        self.app = create_app(self.services)
        an_organisation(self.services)
        an_organisation(self.services, "beta")
        a_user(self.services)
        self.token = a_token(self.services, "ORG_OWNER")

    def headers(self, token: str | None = None, **more: str) -> dict[str, str]:
        """A caller's headers; `Accept_Language` is spelled with a hyphen."""
        given = {name.replace("_", "-"): value for name, value in more.items()}
        return {"Authorization": f"Bearer {token or self.token}"} | given

    def call(self, path: str, *, method: str = "POST", **arguments: Any):
        """Any request, as it stands."""
        return self.app.test_client().open(path, method=method, **arguments)

    def reset(self, user_id: str = "ada", *, body: Any = b"", path: str = V1, **headers: str):
        """The v1 call by the caller who may; `body` is JSON unless it is bytes."""
        data = body if isinstance(body, bytes) else json.dumps(body)
        token = headers.pop("token", None)
        return self.call(path.format(user_id), data=data, headers=self.headers(token, **headers))

    def show(self, reset_id: str, **headers: str):
        """The status call."""
        token = headers.pop("token", None)
        path = f"/keyturn/v1/resets/{reset_id}"
        return self.call(path, method="GET", headers=self.headers(token, **headers))

    def records(self) -> list[str]:
        """The ids of all resets that stand in the store."""
        found = [key for tag in keys.TAGS for key in self.redis.keys(f"{tag}:r:*")]
        return [key.rpartition(":")[2] for key in found]

    def channel_of(self, response: Any) -> str:
        """Where the reset of an answer goes."""
        return self.services.resets.find(response.headers["Keyturn-Reset-Id"]).channel.value


def problem(response: Any) -> tuple[int, int, str | None]:
    """HTTP status, code and id of an error, whose JSON shape is checked on the way."""
    assert response.mimetype == "application/json", response.get_data(as_text=True)
    body = response.get_json()
    assert set(body) <= {"code", "message", "details"}
    details = body.get("details")
    if details is None:
        return response.status_code, body["code"], None
    first = details[0]
    assert set(first) == {"@type", "id", "message"}
    assert first["@type"] == ERROR_DETAIL
    assert body["message"] == f"{first['message']} ({first['id']})"
    return response.status_code, body["code"], first["id"]

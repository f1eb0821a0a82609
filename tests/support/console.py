"""The console in one process: an installation, and a browser that is signed in."""

from __future__ import annotations

from typing import Any

from tests.support.builders import a_token
from tests.support.pages import Seen, see
from tests.support.wire import Wire


class Console(Wire):
    """An installation with `acme` and `ada`, and an operator's browser."""

    def __init__(self, client: Any, **settings: Any) -> None:
        super().__init__(client, **settings)
        self.browser = self.app.test_client()
        self.owner = a_token(self.services, instance=("IAM_OWNER",))

    def sign_in(self, token: str | None = None, **fields: str) -> Any:
        """Sign in, by default as the owner of everything."""
        form = {"token": token or self.owner, **fields}
        return self.browser.post("/console/sign-in", data=form)

    def open(self, path: str = "", **headers: str) -> Any:
        """The answer to opening a page."""
        return self.browser.get(f"/console{path}", headers=headers)

    def see(self, path: str = "") -> Seen:
        """The page as a reader meets it."""
        answer = self.open(path)
        assert answer.status_code == 200, answer.get_data(as_text=True)
        return see(answer)

    def csrf(self) -> str:
        """The anti-forgery token of the session."""
        forms = see(self.open("/nowhere")).forms
        return next(form["csrf"] for form in forms if "csrf" in form)

    def press(self, path: str, **fields: str) -> Any:
        """Post the form of a page, with a reason unless another is given."""
        form = {"csrf": self.csrf(), "reason": "a test", **fields}
        return self.browser.post(f"/console{path}", data=form)

    def note_after(self, path: str, **fields: str) -> str:
        """What the console says first once a button's form is posted."""
        answer = self.press(path, **fields)
        assert answer.status_code == 303, answer.get_data(as_text=True)
        return see(self.browser.get(answer.headers["Location"])).text

"""Read the forms of the page; sign and check their anti-forgery token.

There are no cookies, so there is no session to attack; a foreign site could only make a visitor
post a form with a code that it knows itself. The token is signed, names one user and lives for two
hours. `Sec-Fetch-Site` is checked as well. `Origin` is not: under `no-referrer` browsers send
`null` even for our own form.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from flask import request

from shared.codes import CODE_CHARACTERS, LINK_CHARACTERS, CodeBook, normalise_code
from shared.errors import InvalidRequestError
from web.middleware import read_capped_body
from web.pages.enumeration import RESET_HANDLE

TOKEN_PURPOSE = "page"  # noqa: S105 - what is signed, not a secret
TOKEN_LIFETIME_MINUTES = 120
CLOCK_SKEW_MINUTES = 2  # between our own machines
FORM_TYPE = "application/x-www-form-urlencoded"
OWN_SITES = ("same-origin", "none")
MAX_FIELDS = 20
MAX_SHOWN_CHARACTERS = 60  # of a typed code: more is no code, and the page need not repeat it


@dataclass(frozen=True, slots=True)
class Filled:
    """The fields of the form or of a link."""

    handle: str = ""  # userID: a user id, or `r/` and a reset id
    org_id: str = ""
    code: str = field(default="", repr=False)
    language: str = ""
    token: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    repeat: str = field(default="", repr=False)

    @property
    def shown_code(self) -> str:
        """Return the typed code, cut to what the form repeats."""
        return self.code[:MAX_SHOWN_CHARACTERS]

    @property
    def has_whole_code(self) -> bool:
        """True if the code has the length of a typed one or of a link's secret."""
        return len(normalise_code(self.code)) in (CODE_CHARACTERS, LINK_CHARACTERS)

    @property
    def user_id(self) -> str:
        """Return the user id; empty if the handle is a reset."""
        return "" if self.handle.startswith(RESET_HANDLE) else self.handle


def read_link() -> Filled:
    """Read the query of a link."""
    return read_filled(request.args.to_dict())


def read_short_link(reset_id: str, code: str) -> Filled:
    """Return the fields of a short link; the reset is not looked up before a form is posted."""
    return Filled(handle=RESET_HANDLE + reset_id, code=code, language=request.args.get("lang", ""))


def read_form() -> Filled:
    """Read the posted form; raise as read_fields."""
    return read_filled(read_fields())


def read_fields() -> dict[str, str]:
    """Return the fields of the posted form; none if the body is not a form.

    Raises:
        BodyTooLargeError: the body exceeds 64 KiB.
        InvalidRequestError: the body is not UTF-8, or has too many fields.
    """
    body = read_capped_body()
    if request.mimetype != FORM_TYPE:
        return {}
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS
        )
    except ValueError as error:
        raise InvalidRequestError("the form cannot be read") from error
    return dict(pairs)


def make_token(codes: CodeBook, handle: str) -> str:
    """Return the anti-forgery token for a user's form, as of this minute."""
    minute = _minute()
    return f"{minute}.{codes.sign(TOKEN_PURPOSE, _token_text(handle, minute))}"


def is_own_form(codes: CodeBook, filled: Filled) -> bool:
    """Return True if the token is ours, for this user and recent, and our own page posted it."""
    if request.headers.get("Sec-Fetch-Site", "none") not in OWN_SITES:
        return False
    minute, _, signature = filled.token.partition(".")
    if not (minute.isascii() and minute.isdigit() and len(minute) <= len(str(_minute()))):
        return False
    age_minutes = _minute() - int(minute)
    is_fresh = -CLOCK_SKEW_MINUTES <= age_minutes <= TOKEN_LIFETIME_MINUTES
    text = _token_text(filled.handle, int(minute))
    return codes.verifies(TOKEN_PURPOSE, text, signature) and is_fresh


def _token_text(handle: str, minute: int) -> str:
    return f"{handle}\0{minute}"


def _minute() -> int:
    return int(time.time() // 60)


def read_filled(fields: dict[str, str]) -> Filled:
    """Return what the pages have in common of the fields of a form or a link."""
    return Filled(
        handle=fields.get("userID", ""),
        org_id=fields.get("orgID", ""),
        code=fields.get("code", ""),
        language=fields.get("lang", ""),
        token=fields.get("csrfToken", ""),
        password=fields.get("password", ""),
        repeat=fields.get("passwordConfirm", ""),
    )

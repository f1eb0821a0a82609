"""The addresses that carry a code: the default link, the short one, and a caller's own template.

A template is an address with `{{.UserID}}`, `{{.Code}}` and `{{.OrgID}}` in it, in the spelling of
Go's text/template; anything else between double braces is refused when the call is read.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from shared.errors import UrlTemplateError, UrlTemplateFieldError

if TYPE_CHECKING:
    from shared.codes import Code

FIELDS = ("UserID", "Code", "OrgID")
# RFC 3986: what may stand in an address as it is; every other sign of a template is encoded.
_URL_SIGNS = ":/?#[]@!$&'()*+,;=-._~%"
_ACTION = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_FIELD = re.compile(r"[ \t\r\n]*\.([^\W\d]\w*(?:\.[^\W\d]\w*)*)[ \t\r\n]*")


def default_link(
    base: str, *, user_id: str, code: Code, org_id: str, language: str | None = None
) -> str:
    """The link of a mail: Keyturn's own page.

    The language stands in the link because the page looks nothing up before its form comes back.
    """
    user, org = _quote(user_id), _quote(org_id)
    lang = f"&lang={_quote(language)}" if language else ""
    return f"{base}/ui/password/reset?userID={user}&code={code.signs}&orgID={org}{lang}"


def _quote(text: str) -> str:
    """The text percent-encoded; most ids need none of it, and ten times the time to learn so."""
    return text if text.isascii() and text.isalnum() else quote(text, safe="")


def short_link(base: str, *, reset_id: str, code: Code) -> str:
    """The link of an SMS: of the same meaning, in few signs."""
    return f"{base}/r/{reset_id}/{code.signs}"


def check_template(template: str) -> None:
    """Give nothing when links can be made of a caller's template.

    Raises:
        UrlTemplateError: it does not parse, holds another action or an unprintable sign.
        UrlTemplateFieldError: it asks for a field we do not have.
    """
    _take_apart(template)


def expand_template(template: str, *, user_id: str, code: Code, org_id: str) -> str:
    """A caller's template as a link; values are percent-encoded and never read again.

    Raises:
        UrlTemplateError, UrlTemplateFieldError: as `check_template`.
    """
    values = {"UserID": user_id, "Code": code.signs, "OrgID": org_id}
    pieces = _take_apart(template)
    pieces[::2] = [quote(words, safe=_URL_SIGNS) for words in pieces[::2]]
    pieces[1::2] = [quote(values[field], safe="") for field in pieces[1::2]]
    return "".join(pieces)


def _take_apart(template: str) -> list[str]:
    """Words, field, words, field, …, words."""
    pieces = _ACTION.split(template)
    if any("{{" in words or not words.isprintable() for words in pieces[::2]):
        raise UrlTemplateError
    pieces[1::2] = [_field_of(action) for action in pieces[1::2]]
    return pieces


def _field_of(action: str) -> str:
    field = _FIELD.fullmatch(action)
    if field is None:
        raise UrlTemplateError
    if field[1] not in FIELDS:
        raise UrlTemplateFieldError
    return field[1]

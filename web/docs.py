"""/openapi.json, and /docs that shows it: a page of our own that loads nothing from anywhere."""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
from flask import Blueprint, Response, render_template
from markupsafe import Markup

from shared.languages import Languages
from web.api import house
from web.api_document import make_document

docs = Blueprint("docs", __name__)

STYLE = (Path(__file__).parent / "templates" / "docs.css").read_text(encoding="utf-8")
STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; form-action 'none'; "
    "base-uri 'none'; frame-ancestors 'none'"
)


@docs.get("/openapi.json")
def openapi_json() -> Response:
    """The description of every REST call."""
    services = house()
    return Response(
        _spelled(services.settings.link_base, services.languages), mimetype="application/json"
    )


@docs.get("/docs")
def show_docs() -> Response:
    """The same for people."""
    services = house()
    document = _document(services.settings.link_base, services.languages)
    base = urlsplit(services.settings.link_base).path
    style = Markup(STYLE)  # noqa: S704 - our own file
    page = render_template("docs.html", document=document, base=base, style=style, spell=_pretty)
    response = Response(page, mimetype="text/html")
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


@lru_cache(maxsize=8)
def _document(base: str, languages: Languages) -> dict[str, Any]:
    return make_document(base, languages)


@lru_cache(maxsize=8)
def _spelled(base: str, languages: Languages) -> bytes:
    return orjson.dumps(_document(base, languages))


def _pretty(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()

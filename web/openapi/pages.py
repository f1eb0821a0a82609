"""Serve /openapi.json and /docs; the document is built when it is first asked for."""

from __future__ import annotations

import base64
import hashlib
import shlex
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
from flask import Blueprint, Response, render_template
from markupsafe import Markup

from shared.languages import Languages
from web.http import current_services

docs = Blueprint("docs", __name__)

Json = dict[str, Any]
TEMPLATES = Path(__file__).parents[1] / "templates"
STYLE, SCRIPT = ((TEMPLATES / name).read_text(encoding="utf-8") for name in ("docs.css", "docs.js"))
STYLE_HASH, SCRIPT_HASH = (
    base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (STYLE, SCRIPT)
)
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; script-src 'sha256-{SCRIPT_HASH}'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
# What `keyturn up` makes; what an earlier answer gives is a variable of the shell.
DEMO = {
    "userId": "ada",
    "orgId": "demo",
    "language": "de",
    "resetId": "$RESET_ID",
    "batchId": "$BATCH_ID",
    "subscriptionId": "$SUBSCRIPTION_ID",
}
BAD_REQUEST = 400


@docs.get("/openapi.json")
def openapi_json() -> Response:
    """Return the OpenAPI document."""
    return Response(orjson.dumps(_document()), mimetype="application/json")


@docs.get("/docs")
def show_docs() -> Response:
    """Return the document as a page, without external resources."""
    document = _document()
    page = render_template(
        "docs.html",
        document=document,
        errors=_errors(document),
        base=urlsplit(current_services().settings.link_base).path,
        style=Markup(STYLE),  # noqa: S704 - our own file
        script=Markup(SCRIPT),  # noqa: S704 - our own file
        pretty=_pretty,
        curl=curl,
    )
    response = Response(page, mimetype="text/html")
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def curl(base_url: str, method: str, path: str, call: Json) -> str:
    """Return a command line that makes this call of the demo; empty where a provider signs it."""
    schemes = {name for needed in call.get("security", []) for name in needed}
    if schemes - {"token"}:
        return ""
    for name, value in DEMO.items():
        path = path.replace(f"{{{name}}}", value)
    asked = [each for each in call["parameters"] if each.get("in") == "query"]
    query = "&".join(f"{each['name']}=trying" for each in asked if each.get("required"))
    path += f"?{query}" if query else ""
    parts = [f'curl -X {method.upper()} "{base_url}{path}"']
    if schemes:
        parts.append('-H "Authorization: Bearer $KEYTURN_TOKEN"')
    if any(each.get("name") == "If-Match" for each in call["parameters"]):
        parts.append('-H "If-Match: $ETAG"')
    for kind, content in call.get("requestBody", {}).get("content", {}).items():
        examples = [each["value"] for each in content.get("examples", {}).values()]
        body = orjson.dumps(examples[0]).decode() if examples else "@FILE"
        body = body.replace('"acme"', f'"{DEMO["orgId"]}"')
        parts += [f"-H 'Content-Type: {kind}'"] if kind != "application/json" else []
        parts.append(f"-{'d' if examples else '-data-binary'} {shlex.quote(body)}")
        break
    return " \\\n  ".join(parts)


def _errors(document: Json) -> dict[str, tuple[str, Json]]:
    """Return each error of any call once, with its HTTP status, by its name in the examples."""
    calls = (call for methods in document["paths"].values() for call in methods.values())
    return {
        name: (status, example["value"])
        for call in calls
        for status, response in call["responses"].items()
        if int(status) >= BAD_REQUEST
        for content in response.get("content", {}).values()
        for name, example in content.get("examples", {}).items()
    }


def _document() -> Json:
    services = current_services()
    return _make_once(services.settings.link_base, services.languages)


@lru_cache(maxsize=8)
def _make_once(base_url: str, languages: Languages) -> Json:
    from web.openapi.document import make_document  # noqa: PLC0415 - loads apispec, twilio, sendgrid

    return make_document(base_url, languages)


def _pretty(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()

"""/openapi.json, made of web/api_operations.py, web/api_shapes.py and the error table."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
from flask import Blueprint, Response, render_template
from markupsafe import Markup

from shared import errors
from shared.languages import Languages
from web.http import current_services
from web.idempotency import MAX_KEY_CHARACTERS
from web.openapi.admin import OPERATOR_OPERATIONS, OPERATOR_SHAPES
from web.openapi.batches import BATCH_OPERATIONS, BATCH_SHAPES
from web.openapi.resets import OPERATIONS, SHAPES, Operation, reference
from web.openapi.webhooks import WEBHOOK_OPERATIONS, WEBHOOK_SHAPES
from web.problems import UNEXPECTED, Problem, describe
from web.resets import MAX_USER_ID_CHARACTERS

ALL_OPERATIONS = (*OPERATIONS, *OPERATOR_OPERATIONS, *BATCH_OPERATIONS, *WEBHOOK_OPERATIONS)
ALL_SHAPES = SHAPES | OPERATOR_SHAPES | BATCH_SHAPES | WEBHOOK_SHAPES
VERSION = "1.0.0"
DESCRIPTION = """Password resets that are never lost and can always be explained, on ZITADEL's API.

Field names may also be written in snake_case; unknown fields are ignored. A request is judged in
this order: route, size, decoding, token, organisation header, permission, ranges, the rest."""
TEXT = {"type": "string"}
HEADERS: dict[str, dict[str, Any]] = {
    "X-Request-Id": {"description": "The caller's own, or a new one", "required": True},
    "Cache-Control": {"description": "Always `no-store`", "required": True},
    "Keyturn-Reset-Id": {"description": "The handle for the status call", "required": True},
    "Deprecation": {"description": "Since when (RFC 9745)", "required": True},
    "Link": {"description": 'The successor: `<…>; rel="successor-version"`', "required": True},
    "WWW-Authenticate": {"description": "`Bearer`", "required": True},
    "Retry-After": {"description": "Seconds", "required": True},
}


def make_document(base: str, languages: Languages) -> dict[str, Any]:
    """The description of every REST call; `base` is where callers reach us."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in ALL_OPERATIONS:
        for number, path in enumerate(operation.paths):
            told = _operation(operation, languages, suffix="AsDocumented" if number else "")
            paths.setdefault(path, {})[operation.method] = told
    return {
        "openapi": "3.1.0",
        "info": {"title": "Keyturn", "version": VERSION, "description": DESCRIPTION},
        "servers": [{"url": base}],
        "paths": paths,
        "components": {
            "schemas": ALL_SHAPES,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Made by `keyturn token add`, or a JWT of the identity provider",
                }
            },
        },
    }


def _operation(operation: Operation, languages: Languages, *, suffix: str) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": operation.name + suffix,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": list(_parameters(operation)),
        "responses": _responses(operation, languages),
    }
    if operation.is_deprecated:
        told["deprecated"] = True
    if operation.needs_token:
        told["security"] = [{"token": []}]
    if operation.body:
        examples = {name: {"value": value} for name, value in operation.body_examples.items()}
        content = {"schema": reference(operation.body), "examples": examples}
        is_required = bool({"required", "oneOf"} & ALL_SHAPES[operation.body].keys())
        lines = {"schema": TEXT, "example": "ada\neve\n"}
        told["requestBody"] = {
            "required": is_required,
            "description": "At most 64 KiB of JSON"
            + ("" if is_required else "; nothing means `{}`"),
            "content": {"application/json": content} | dict.fromkeys(operation.uploads, lines),
        }
    return told


def _parameters(operation: Operation) -> Iterator[dict[str, Any]]:
    if "{userId}" in operation.paths[0]:
        shape = TEXT | {"minLength": 1, "maxLength": MAX_USER_ID_CHARACTERS, "pattern": "^[^/]+$"}
        yield _parameter("userId", "path", shape, "The user's id", example="ada")
    if "{resetId}" in operation.paths[0]:
        shape = TEXT | {"minLength": 1, "pattern": "^[^/]+$"}
        yield _parameter("resetId", "path", shape, "From the header Keyturn-Reset-Id")
    if "{subscriptionId}" in operation.paths[0]:
        shape = TEXT | {"minLength": 1, "pattern": "^[^/]+$"}
        yield _parameter("subscriptionId", "path", shape, "From `listWebhooks`")
    if "{batchId}" in operation.paths[0]:
        shape = TEXT | {"minLength": 1, "pattern": "^[^/]+$"}
        yield _parameter("batchId", "path", shape, "From the answer that began the batch")
    for name, shape, wanted in operation.query:
        yield _parameter(name, "query", shape, wanted)
    if operation.needs_token:
        wanted = "The organisation in force; without it the caller's own"
        yield _parameter("x-zitadel-orgid", "header", TEXT, wanted)
        yield _parameter("Accept-Language", "header", TEXT, "Of error messages", example="de")
    if operation.makes_reset or operation.takes_key:
        shape = TEXT | {"pattern": "^[!-~]+$", "minLength": 1, "maxLength": MAX_KEY_CHARACTERS}
        wanted = "The same request under the same key gives the same again, for 24 hours"
        yield _parameter("Idempotency-Key", "header", shape, wanted)


def _parameter(
    name: str, place: str, shape: dict[str, Any], description: str, *, example: str | None = None
) -> dict[str, Any]:
    told = {
        "name": name,
        "in": place,
        "required": place == "path",
        "schema": shape,
        "description": description,
    }
    return told | ({"example": example} if example else {})


def _responses(operation: Operation, languages: Languages) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": TEXT}
    if operation.answer:
        content = {"schema": reference(operation.answer), "example": operation.example}
    responses = {
        str(operation.status): {
            "description": HTTPStatus(operation.status).phrase,
            "headers": _headers(operation, operation.status),
            "content": {operation.answer_type: content},
        }
    }
    if operation.unwell:
        unwell = {"application/json": {"schema": reference(operation.unwell)}}
        responses["503"] = {
            "description": "Something is missing",
            "headers": _headers(operation, 503),
            "content": unwell,
        }
    for status, problems in sorted(_problems(operation, languages).items()):
        responses[str(status)] = _refusal(operation, status, problems)
    return responses


def _refusal(operation: Operation, status: int, problems: dict[str, Problem]) -> dict[str, Any]:
    examples = {name: {"value": problem.as_json()} for name, problem in problems.items()}
    return {
        "description": HTTPStatus(status).phrase,
        "headers": _headers(operation, status),
        "content": {"application/json": {"schema": reference("Problem"), "examples": examples}},
    }


def _problems(operation: Operation, languages: Languages) -> dict[int, dict[str, Problem]]:
    """Every error the call may answer, by status, then by id (or name where it has none)."""
    found: dict[int, dict[str, Problem]] = {500: {"Unexpected": UNEXPECTED}}
    for kind in operation.errors:
        for sample in _samples(kind):
            problem = describe(sample, languages)
            name = kind.__name__.removesuffix("Error")
            named = found.setdefault(problem.http_status, {})
            named[name if problem.id in (None, "KEYTURN-Unavailable") else str(problem.id)] = (
                problem
            )
    return found


def _samples(kind: type[errors.CallerError]) -> list[errors.CallerError]:
    if issubclass(kind, errors.TooManyRequestsError):
        return [kind("cooldown", retry_after_seconds=42)]
    if issubclass(kind, errors.PasswordPolicyError):
        return [kind(rule) for rule in kind.IDS]
    return [kind()]


def _headers(operation: Operation, status: int) -> dict[str, Any]:
    names = ["X-Request-Id", "Cache-Control"]
    names += ["Deprecation", "Link"] if operation.is_deprecated else []
    names += ["Keyturn-Reset-Id"] if operation.makes_reset and status == HTTPStatus.OK else []
    names += ["WWW-Authenticate"] if status == HTTPStatus.UNAUTHORIZED else []
    names += ["Retry-After"] if status == HTTPStatus.TOO_MANY_REQUESTS else []
    return {name: HEADERS[name] | {"schema": TEXT} for name in names}


docs = Blueprint("docs", __name__)

STYLE = (Path(__file__).parent.parent / "templates" / "docs.css").read_text(encoding="utf-8")
STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; form-action 'none'; "
    "base-uri 'none'; frame-ancestors 'none'"
)


@docs.get("/openapi.json")
def openapi_json() -> Response:
    """The description of every REST call."""
    services = current_services()
    return Response(
        _spelled(services.settings.link_base, services.languages), mimetype="application/json"
    )


@docs.get("/docs")
def show_docs() -> Response:
    """The same for people."""
    services = current_services()
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

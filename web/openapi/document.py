"""Build the OpenAPI document with apispec."""

from __future__ import annotations

import re
from collections.abc import Iterator
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson
from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from marshmallow import Schema, fields

from shared import errors
from shared.languages import Languages
from web.idempotency import MAX_KEY_CHARACTERS
from web.openapi.events import describe_webhooks
from web.openapi.examples import make_example
from web.openapi.operations import OPERATIONS, Operation
from web.problems import UNEXPECTED, Problem, describe
from web.resets import MAX_USER_ID_CHARACTERS
from web.webhooks.api import WebhookSchema

Json = dict[str, Any]

VERSION = version("keyturn")  # as `keyturn --version` says
DESCRIPTION = """Password resets that are never lost and can always be explained, on ZITADEL's API.

Field names may also be written in snake_case; unknown fields are ignored. A request is judged in
this order: route, size, decoding, token, organisation header, permission, ranges, the rest."""
DEPRECATED = (
    "Struck through, because ZITADEL replaced its v1 API by v2 on 2025-01-01, as the header "
    "Deprecation says. It works on here; new callers use PasswordReset (v2), which Link names."
)
TEXT = {"type": "string"}
# What is the same for all calls: the shape of errors, headers, how calls are signed.
COMPONENTS: Json = orjson.loads(Path(__file__).with_name("components.json").read_bytes())
HEADERS, SECURITY_SCHEMES = COMPONENTS["headers"], COMPONENTS["securitySchemes"]


def parameter(name: str, location: str, schema: Json, description: str, **more: Any) -> Json:
    """Return an OpenAPI parameter."""
    described = {"name": name, "in": location, "required": location == "path", "schema": schema}
    return described | {"description": description} | more


SEGMENT = TEXT | {"minLength": 1, "pattern": "^[^/]+$"}
USER_ID = SEGMENT | {"maxLength": MAX_USER_ID_CHARACTERS}
KEY = TEXT | {"pattern": "^[!-~]+$", "minLength": 1, "maxLength": MAX_KEY_CHARACTERS}
PATH_PARAMETERS = {
    each["name"]: each
    for each in (
        parameter("userId", "path", USER_ID, "The user's id", example="ada"),
        parameter("orgId", "path", SEGMENT, "The organisation's id", example="acme"),
        parameter("resetId", "path", SEGMENT, "From the header Keyturn-Reset-Id"),
        parameter("orgId", "path", SEGMENT, "The organisation's id", example="acme"),
        parameter("language", "path", SEGMENT, "A supported language", example="de"),
        parameter("subscriptionId", "path", SEGMENT, "From `listWebhooks`"),
        parameter("batchId", "path", SEGMENT, "From the answer that began the batch"),
    )
}
TOKEN_PARAMETERS = (
    parameter(
        "x-zitadel-orgid", "header", TEXT, "The organisation in force; without it the caller's own"
    ),
    parameter("Accept-Language", "header", TEXT, "Of error messages", example="de"),
)
IDEMPOTENCY_KEY = parameter(
    "Idempotency-Key",
    "header",
    KEY,
    "The same request under the same key gives the same again, for 24 hours",
)


IF_MATCH = parameter(
    "If-Match", "header", TEXT, "The ETag of the last answer; needed where something is set"
)


class JsonSchemaConverter(OpenAPIConverter):
    """Reads two extensions of Keyturn's schemas: `Meta.json_schema`, and `nullable` as metadata."""

    def schema2jsonschema(self, schema: Schema) -> Json:
        """Add `Meta.json_schema`, the rules of a whole message."""
        described: Json = super().schema2jsonschema(schema)  # type: ignore[no-untyped-call]
        return described | getattr(schema.Meta, "json_schema", {})

    def field2nullable(self, field: fields.Field[Any], ret: Json) -> Json:
        """Do not describe null if it is decoded but then refused."""
        if ret.pop("nullable", True):
            described: Json = super().field2nullable(field, ret=ret)
            return described
        return {}


class KeyturnPlugin(MarshmallowPlugin):
    """The marshmallow plugin with our converter."""

    Converter = JsonSchemaConverter


def make_document(base_url: str, languages: Languages) -> Json:
    """Return the OpenAPI document; `base_url` is where callers reach us."""
    spec = APISpec(
        "Keyturn",
        VERSION,
        "3.1.0",
        plugins=[KeyturnPlugin()],
        info={"description": DESCRIPTION},
        servers=[{"url": base_url}],
        webhooks=describe_webhooks(make_example(WebhookSchema())),
    )
    spec.components.schema("Problem", COMPONENTS["schemas"]["Problem"])
    spec.components.schema("Webhook", schema=WebhookSchema)
    for name, scheme in SECURITY_SCHEMES.items():
        spec.components.security_scheme(name, scheme)
    for tag, operations in OPERATIONS.items():
        spec.tag({"name": tag})
        for operation in operations:
            method, path = operation.call.split(" ")
            described = _describe(operation, languages) | {"tags": [tag]}
            spec.path(path, operations={method.lower(): described})
            if operation.alias:
                described["operationId"] += "AsDocumented"
                spec.path(operation.alias, operations={method.lower(): described})
    document: Json = spec.to_dict()
    return document


def _describe(operation: Operation, languages: Languages) -> Json:
    described: Json = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": list(_parameters(operation)),
        "responses": _responses(operation, languages),
    }
    if operation.is_deprecated:
        described["deprecated"] = True
        described["description"] = DEPRECATED
    if operation.security:
        described["security"] = [{scheme: [] for scheme in operation.security}]
    if operation.request:
        described["requestBody"] = _request_body(operation, operation.request)
    if operation.files:
        binary = {"schema": TEXT | {"format": "binary"}}
        described["requestBody"] = {
            "required": True,
            "content": dict.fromkeys(operation.files, binary),
        }
    return described


def _parameters(operation: Operation) -> Iterator[Json]:
    yield from (PATH_PARAMETERS[name] for name in re.findall(r"{(\w+)}", operation.call))
    if operation.query:
        yield {"in": "query", "schema": operation.query}
    if "token" in operation.security:
        yield from TOKEN_PARAMETERS
    if operation.makes_reset or operation.takes_key:
        yield IDEMPOTENCY_KEY
    if operation.is_versioned and not operation.call.startswith("GET "):
        yield IF_MATCH


def _request_body(operation: Operation, request: type[Schema]) -> Json:
    rules = getattr(request.Meta, "json_schema", {})
    is_required = (
        operation.is_list
        or bool({"required", "oneOf"} & rules.keys())
        or any(field.required for field in request().fields.values())
    )
    examples = operation.examples or {"example": make_example(request())}
    content = {
        "schema": {"type": "array", "items": request} if operation.is_list else request,
        "examples": {
            name: {"value": [value] if operation.is_list else value}
            for name, value in examples.items()
        },
    }
    files = ("application/x-ndjson", "text/plain") if operation.is_uploadable else ()
    lines = {"schema": TEXT, "example": "ada\neve\n"}
    limit = "1 MiB" if operation.call.startswith("POST /callbacks/") else "64 KiB of JSON"
    return {
        "required": is_required,
        "description": f"At most {limit}" + ("" if is_required else "; nothing means `{}`"),
        "content": {operation.request_type: content} | dict.fromkeys(files, lines),
    }


def _responses(operation: Operation, languages: Languages) -> Json:
    response, status = operation.response, operation.status
    success: Json = {"description": status.phrase, "headers": _headers(operation, status)}
    if isinstance(response, str):
        success["content"] = {response: {"schema": TEXT}}
    elif response:
        success |= _content(response, example=make_example(response()))
    responses = {str(status.value): success}
    if operation.unavailable:
        responses["503"] = {
            "description": "Something is missing",
            "headers": _headers(operation, HTTPStatus.SERVICE_UNAVAILABLE),
        } | _content(operation.unavailable)
    for number, problems in sorted(_problems(operation, languages).items()):
        examples = {name: {"value": problem.as_json()} for name, problem in problems.items()}
        responses[str(number)] = {
            "description": HTTPStatus(number).phrase,
            "headers": _headers(operation, number),
        } | _content("Problem", examples=examples)
    return responses


def _content(schema: type[Schema] | str, **examples: Any) -> Json:
    return {"content": {"application/json": {"schema": schema} | examples}}


def _problems(operation: Operation, languages: Languages) -> dict[int, dict[str, Problem]]:
    """Return the errors of a call by status, then by id (or by name without an id)."""
    found: dict[int, dict[str, Problem]] = {500: {"Unexpected": UNEXPECTED}}
    for kind in operation.all_errors:
        for error in _samples(kind):
            problem = describe(error, languages)
            has_own_id = problem.id not in (None, "KEYTURN-Unavailable")
            name = str(problem.id) if has_own_id else kind.__name__.removesuffix("Error")
            found.setdefault(problem.http_status, {})[name] = problem
    return found


def _samples(kind: type[errors.CallerError]) -> list[errors.CallerError]:
    if issubclass(kind, errors.TooManyRequestsError):
        return [kind("cooldown", retry_after_seconds=42)]
    if issubclass(kind, errors.SmsSuspiciousError):
        return [kind("velocity", "+88017", until=None)]
    if issubclass(kind, errors.PasswordPolicyError):
        return [kind(rule) for rule in kind.IDS]
    return [kind()]


def _headers(operation: Operation, status: int) -> Json:
    names = ["X-Request-Id", "Cache-Control"]
    names += ["Deprecation", "Link"] if operation.is_deprecated else []
    names += ["Keyturn-Reset-Id"] if operation.makes_reset and status == HTTPStatus.OK else []
    names += ["Idempotent-Replayed", "RateLimit-Policy"] if "Keyturn-Reset-Id" in names else []
    names += ["ETag"] if operation.is_versioned and status == HTTPStatus.OK else []
    names += ["WWW-Authenticate"] if status == HTTPStatus.UNAUTHORIZED else []
    names += (
        ["Retry-After", "RateLimit", "RateLimit-Policy"]
        if status == HTTPStatus.TOO_MANY_REQUESTS
        else []
    )
    return {name: HEADERS[name] | {"schema": TEXT} for name in names}

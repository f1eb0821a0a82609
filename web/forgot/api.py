"""Serve the call of an application's own page: the same as the page of a forgotten password."""

from __future__ import annotations

from flask import Blueprint, Response, request
from marshmallow import fields

from shared.errors import InvalidRequestError
from shared.tracing import bind_context
from web.forgot.pages import ask_here, current_captcha
from web.http import current_services, json_response
from web.middleware import read_capped_body
from web.schemas import OwnSchema, ResponseSchema, read_body

api_forgot = Blueprint("api_forgot", __name__)


class ForgotSchema(OwnSchema):
    """What the person typed."""

    identifier = fields.String(
        required=True,
        metadata={
            "description": "An e-mail address, a phone number or a user name",
            "minLength": 1,
        },
    )
    organisation_id = fields.String(
        load_default="", metadata={"description": "Else that of the host, else all"}
    )
    captcha = fields.String(
        load_default="",
        metadata={"description": "The solution, where `showForgot` names a captcha"},
    )


class ForgotTakenSchema(ResponseSchema):
    """The answer to everybody: a message goes out if the account exists and may get one."""


class ForgotNeedsSchema(ResponseSchema):
    """What the call needs."""

    captcha = fields.String(metadata={"enum": ["off", "altcha", "turnstile", "hcaptcha"]})
    site_key = fields.String(metadata={"description": "Of Turnstile and hCaptcha"})
    challenge = fields.String(metadata={"description": "A new one of Altcha, as JSON"})


@api_forgot.get("/keyturn/v1/forgot")
def show_needs() -> Response:
    """Say which captcha the call needs."""
    captcha = current_captcha()
    needs = {
        "captcha": captcha.kind,
        "siteKey": current_services().settings.forgot_captcha_site_key,
    }
    return json_response(needs | {"challenge": captcha.challenge()})


@api_forgot.post("/keyturn/v1/forgot")
def ask_by_call() -> Response:
    """Ask for a message for those who have an identifier; the answer is the same for every one."""
    is_by_browser = "Origin" in request.headers or "Sec-Fetch-Site" in request.headers
    if is_by_browser and request.mimetype != "application/json":
        # Forms of other sites cannot send it; their scripts need KEYTURN_CORS_ORIGINS to.
        raise InvalidRequestError("a browser must send application/json")
    told = read_body(read_capped_body(), ForgotSchema())
    ask_here(told["identifier"], told["organisation_id"], told["captcha"])
    response = json_response({})
    response.status_code = 202
    return response


@api_forgot.before_request
def _name_caller() -> None:
    bind_context(caller_id="forgot")

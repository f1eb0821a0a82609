"""REST of an organisation's messages: how they look, and a test of the way they go."""

from __future__ import annotations

from typing import Any

from flask import Response, current_app, render_template, request
from marshmallow import fields
from marshmallow.validate import Length, OneOf

from shared.models import Channel, Outcome
from shared.organisations.profile import Profile
from web.admin.providers import Trial
from web.admin.schemas import MAX_NAME_CHARACTERS, ReasonSchema
from web.auth import ORG_READ, ORG_WRITE
from web.explain.query import check_names
from web.http import current_services, json_response
from web.middleware import read_capped_body
from web.organisations.api import PATH, read_profile, read_reason
from web.organisations.messages import (
    NAMES,
    SAMPLE_CODE,
    in_mode,
    preview,
    read_address,
    send_test,
)
from web.organisations.sender_api import api_organisations
from web.pages.forms import Filled
from web.pages.rendering import show_form
from web.schemas import CamelCaseSchema, Count, ResponseSchema, read_body

__all__ = ["api_organisations"]  # with these routes

# The mails' own styles are inline, and a frame made of text obeys the policy of its page.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
NULL: dict[str, Any] = {"allow_none": True, "dump_default": None}  # of the other channel


class PreviewQuerySchema(CamelCaseSchema):
    """What is shown."""

    channel = fields.String(validate=OneOf([*Channel]))
    language = fields.String(metadata={"description": "The organisation's own when not given"})
    name = fields.String(
        validate=OneOf([*NAMES]), metadata={"description": "Of the person who gets it"}
    )


class PreviewSchema(ResponseSchema):
    """A message with sample values; what only the other channel has is null."""

    org_id = fields.String()
    language = fields.String()
    channel = fields.String(validate=OneOf([*Channel]))
    name = fields.String(validate=OneOf([*NAMES]))
    from_ = fields.String(attribute="sender", data_key="from", **NULL)
    reply_to = fields.String(**NULL)
    subject = fields.String(**NULL)
    text = fields.String()
    html = fields.String(**NULL, metadata={"description": "With the logo in it"})
    segments = Count(**NULL)
    encoding = fields.String(**NULL)
    price = fields.Dict(
        values=fields.Float(),
        **NULL,
        metadata={"description": "Of one message, by country; `*`: of all others"},
    )
    currency = fields.String(**NULL)
    text_version = Count(metadata={"description": "Of the organisation's own texts; 0: none"})
    unfilled = fields.List(
        fields.String(), metadata={"description": "Own sentences that could not be filled"}
    )


class SendTestRequestSchema(ReasonSchema):
    """To whom a test goes."""

    to = fields.String(required=True, validate=Length(1, 320))
    language = fields.String(allow_none=True, validate=Length(max=MAX_NAME_CHARACTERS))


class TrialSchema(ResponseSchema):
    """A call of a provider."""

    provider = fields.String()
    outcome = fields.String()
    reason = fields.String(allow_none=True)
    detail = fields.String(allow_none=True)
    provider_message_id = fields.String(allow_none=True)
    duration_ms = Count()


class SendTestSchema(ResponseSchema):
    """The calls of providers, in their order; the last one may have taken it."""

    recipient = fields.String(metadata={"description": "Masked"})
    is_accepted = fields.Boolean()
    trials = fields.List(fields.Nested(TrialSchema))


PREVIEW, SEND_TEST_REQUEST, SEND_TEST = PreviewSchema(), SendTestRequestSchema(), SendTestSchema()


@api_organisations.get(f"{PATH}/preview")
def show_preview(org_id: str) -> Response:
    """Show a message with sample values; to who wants HTML, all messages on one page."""
    profile, services = read_profile(org_id, ORG_READ), current_services()
    check_names(request.args.keys(), "channel", "language", "name")
    shown = preview(services, profile, **request.args.to_dict())
    wanted = request.accept_mimetypes.best_match(("application/json", "text/html"))
    if wanted != "text/html":
        return json_response(PREVIEW.dump(shown))
    page = render_previews(profile, shown["language"])
    headers = {"Content-Security-Policy": CONTENT_SECURITY_POLICY, "Vary": "Accept"}
    return Response(page, headers=headers, mimetype="text/html")


@api_organisations.post(f"{PATH}/_send_test")
def send_test_message(org_id: str) -> Response:
    """Send a test as the organisation's messages are sent."""
    profile, services = read_profile(org_id, ORG_WRITE), current_services()
    given = read_body(read_capped_body(), SEND_TEST_REQUEST)
    why, recipient = read_reason(given["reason"]), read_address(given["to"])
    trials = send_test(services, profile, recipient, why, language=given.get("language"))
    return json_response(write_trials(trials))


def render_page(profile: Profile, language: str) -> str:
    """Return the page of a reset, with a sample code."""
    filled = Filled("sample", profile.org_id, SAMPLE_CODE.link_secret, language)
    with current_app.test_request_context():
        return show_form(current_services(), filled).get_data(as_text=True)


def render_previews(profile: Profile, language: str) -> str:
    """Return a page with the mail for each name, the SMS and the page of a reset."""
    services = current_services()
    mails = [preview(services, profile, language=language, name=name) for name in NAMES]
    return render_template(
        "preview.html",
        profile=profile,
        language=language,
        mails=mails,
        sms=preview(services, profile, language=language, channel=Channel.SMS.value),
        page=render_page(profile, language),
        in_mode=in_mode,
    )


def write_trials(trials: list[Trial]) -> dict[str, Any]:
    """Serialise the calls of a test."""
    last = trials[-1]
    is_accepted = last.outcome is Outcome.ACCEPTED
    body: dict[str, Any] = SEND_TEST.dump(
        {"recipient": last.recipient.masked, "is_accepted": is_accepted, "trials": trials}
    )
    return body

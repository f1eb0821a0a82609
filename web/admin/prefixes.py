"""The operator's word on prefixes of phone numbers: list, allow, block, lift; each is audited."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from flask import Blueprint, Response
from marshmallow import fields
from marshmallow.validate import Length, OneOf, Range

from shared.errors import InvalidRequestError, NotFoundError
from shared.guard.rules import check_prefix, region_of_prefix
from shared.store.admin.prefixes import VERBS, PrefixState
from web.admin.actions import AuditReason, check_reason
from web.admin.api import caller_here
from web.admin.schemas import MAX_NAME_CHARACTERS, PrefixStateSchema, ReasonSchema
from web.auth import SYSTEM_READ, audit_name
from web.http import count_changes, current_services, json_response
from web.middleware import read_capped_body
from web.schemas import ResponseSchema, Timestamp, read_body
from web.services import WebServices

LIFT = "lift"
MAX_SECONDS = 365 * 24 * 3600
MAX_LISTED = 1000

api_prefixes = Blueprint("api_prefixes", __name__)
api_prefixes.before_request(count_changes)


class PrefixRequestSchema(ReasonSchema):
    """What holds for a prefix from now on."""

    prefix = fields.String(
        required=True,
        validate=Length(1, MAX_NAME_CHARACTERS),
        metadata={"description": "A country code and up to four digits: +8801"},
    )
    action = fields.String(required=True, validate=OneOf([*VERBS, LIFT]))
    for_seconds = fields.Integer(
        strict=True,
        allow_none=True,
        validate=Range(1, MAX_SECONDS),
        metadata={"description": "Nothing: until it is lifted"},
    )


class PrefixChangedSchema(ResponseSchema):
    """What holds for a prefix now."""

    prefix = fields.String()
    action = fields.String(validate=OneOf([*VERBS, LIFT]))
    until = Timestamp(allow_none=True)


class PrefixesSchema(ResponseSchema):
    """Prefixes and sources under a rule or an operator's word."""

    prefixes = fields.List(fields.Nested(PrefixStateSchema))


PREFIX_REQUEST, PREFIX_CHANGED, PREFIXES = (
    PrefixRequestSchema(),
    PrefixChangedSchema(),
    PrefixesSchema(),
)


def list_states(services: WebServices, *, most: int = MAX_LISTED) -> list[PrefixState]:
    """Return what is in force, with the price of what was sent in the last hour."""
    prices = dict(services.settings.sms_prices)

    def cost(state: PrefixState) -> float | None:
        region = region_of_prefix(state.prefix) if state.prefix.startswith("+") else None
        price = prices.get(region or "*", prices.get("*"))
        return None if price is None else round(price * state.sent, 2)

    states = services.prefixes.list_states(most=most)
    return [replace(state, cost=cost(state)) for state in states]


def change(
    services: WebServices, prefix: str, action: str, why: AuditReason, *, seconds: int | None = None
) -> datetime | None:
    """Allow, block or lift a prefix; return until when, None: until it is lifted.

    Raises:
        InvalidRequestError: it is no prefix, or has an end where it is lifted.
        NotFoundError: there is nothing to lift.
    """
    if not prefix.startswith("source "):
        try:
            prefix = check_prefix(prefix)
        except ValueError as error:
            raise InvalidRequestError(f"the prefix {error}") from error
    elif action != LIFT:
        raise InvalidRequestError("a source can be lifted alone; revoke the token to stop it")
    if action == LIFT and seconds:
        raise InvalidRequestError("what is lifted has no end")
    with services.audit.acting(why.act(f"sms.{action}", prefix)):
        if action != LIFT:
            return services.prefixes.name(
                prefix, action, by=why.by, reason=why.reason, seconds=seconds
            )
        if not services.prefixes.lift(prefix):
            raise NotFoundError(f"nothing holds for {prefix}; `keyturn sms list` shows what does")
    return None


@api_prefixes.get("/keyturn/v1/sms/prefixes")
def list_prefixes() -> Response:
    """List the prefixes and sources under a rule or an operator's word."""
    services, caller = current_services(), caller_here()
    services.auth.authorize_instance(caller, SYSTEM_READ)
    return json_response(PREFIXES.dump({"prefixes": list_states(services)}))


@api_prefixes.post("/keyturn/v1/sms/prefixes")
def change_prefix() -> Response:
    """Allow or block a prefix, or lift what holds for it."""
    services, caller = current_services(), caller_here()
    given = read_body(read_capped_body(), PREFIX_REQUEST)
    services.auth.authorize_operator(caller, None)
    why = AuditReason(audit_name(caller), check_reason(given["reason"]))
    prefix, action = given["prefix"], given["action"]
    until = change(services, prefix, action, why, seconds=given.get("for_seconds"))
    return json_response(PREFIX_CHANGED.dump({"prefix": prefix, "action": action, "until": until}))

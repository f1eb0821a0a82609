"""REST of leaving: erase a user, an address, an organisation; export a user."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response
from marshmallow import fields
from marshmallow.validate import Length

from shared.errors import NotFoundError, PermissionDeniedError
from shared.models import Caller
from shared.store.admin.audit import Act
from web.admin import actions
from web.admin.actions import AuditReason
from web.admin.schemas import ReasonSchema
from web.auth import SYSTEM_WRITE, USER_DELETE, USER_READ, audit_name
from web.http import count_changes, credentials, current_services, json_response
from web.leaving import erasure
from web.leaving.erasure import ErasureRequest
from web.leaving.export import export_user
from web.middleware import read_capped_body
from web.resets import check_id_length
from web.schemas import Count, ResponseSchema, Timestamp, read_body

api_leaving = Blueprint("api_leaving", __name__)
api_leaving.before_request(count_changes)

MAX_USERS = 1000  # of an organisation that one call removes
MAX_ADDRESS_CHARACTERS = 320


class ForgetSchema(ReasonSchema):
    """Why, and what goes as well."""

    with_suppressions = fields.Boolean(truthy={True}, falsy={False})
    with_audit = fields.Boolean(truthy={True}, falsy={False})


class ForgetAddressSchema(ForgetSchema):
    """An address to erase."""

    address = fields.String(required=True, validate=Length(1, MAX_ADDRESS_CHARACTERS))


class RemoveOrganisationSchema(ForgetSchema):
    """Whether users of the organisation are erased with it."""

    with_users = fields.Boolean(truthy={True}, falsy={False})


class KeptSchema(ResponseSchema):
    """Something that stays."""

    what = fields.String()
    number = fields.Integer(allow_none=True)
    reason = fields.String()


class ErasureReceiptSchema(ResponseSchema):
    """A signed receipt: what was erased, and what stays; nothing of the person."""

    receipt_id = fields.String()
    subject = fields.String()
    at = Timestamp()
    erased = fields.Dict(values=Count())
    kept = fields.List(fields.Nested(KeptSchema))
    server_files = fields.String(
        metadata={"description": "The append-only file: done, under way, off, refused"}
    )
    signature = fields.String()


class UserExportSchema(ResponseSchema):
    """All that is known of a user."""

    user_id = fields.String()
    user = fields.Dict(allow_none=True)
    resets = fields.List(fields.Dict())
    refusals = fields.List(fields.Dict())
    guesses = fields.List(fields.Dict())
    limits = fields.Dict()
    webhooks = fields.List(fields.Dict())
    tokens = fields.List(fields.Dict())
    batches = fields.List(fields.Dict())
    suppressions = fields.List(fields.Dict())
    audit_entries = fields.List(fields.Dict())


@api_leaving.post("/keyturn/v1/users/<user_id>/_forget")
def forget_user(user_id: str) -> Response:
    """Erase a user and everything that is kept of it."""
    caller = current_services().auth.authenticate(credentials())
    body = read_body(read_capped_body(), ForgetSchema())
    _authorize(caller, user_id, USER_DELETE)
    return json_response(erasure.forget_user(current_services(), user_id, _request(caller, body)))


@api_leaving.post("/keyturn/v1/_forget")
def forget_address() -> Response:
    """Erase an address, in every organisation."""
    services = current_services()
    caller = services.auth.authenticate(credentials())
    body = read_body(read_capped_body(), ForgetAddressSchema())
    services.auth.authorize_instance(caller, USER_DELETE)
    return json_response(erasure.forget_address(services, body["address"], _request(caller, body)))


@api_leaving.post("/keyturn/v1/organisations/<org_id>/_remove")
def remove_organisation(org_id: str) -> Response:
    """Remove an organisation."""
    services = current_services()
    caller = services.auth.authenticate(credentials())
    body = read_body(read_capped_body(), RemoveOrganisationSchema())
    for permission in (USER_DELETE, SYSTEM_WRITE):
        services.auth.authorize_instance(caller, permission)
    receipt = erasure.remove_organisation(
        services,
        org_id,
        _request(caller, body),
        with_users=body.get("with_users", False),
        max_users=MAX_USERS,
    )
    return json_response(receipt)


@api_leaving.get("/keyturn/v1/users/<user_id>/export")
def export(user_id: str) -> Response:
    """Return all that is known of a user."""
    caller = current_services().auth.authenticate(credentials())
    _authorize(caller, user_id, USER_READ)
    act = Act(by=audit_name(caller), action="user.export", target=user_id)
    with current_services().audit.acting(act):
        return json_response(export_user(current_services(), user_id))


def _authorize(caller: Caller, user_id: str, permission: str) -> None:
    """Check a permission in the organisation of a user, or of the last record of one who is gone.

    Raises:
        NotFoundError: nothing is known of the user, or the caller may not even see it.
        PermissionDeniedError: the caller may only see it.
    """
    services = current_services()
    check_id_length(user_id)
    user = services.directory.find_user(user_id) if user_id.isprintable() else None
    known = [user] if user else services.resets.find_of_user(user_id)
    if not known or not services.auth.may(caller, known[0].org_id, USER_READ):
        raise NotFoundError
    if not services.auth.may(caller, known[0].org_id, permission):
        raise PermissionDeniedError


def _request(caller: Caller, body: dict[str, Any]) -> ErasureRequest:
    return ErasureRequest(
        AuditReason(audit_name(caller), actions.check_reason(body["reason"])),
        with_suppressions=body.get("with_suppressions", False),
        with_audit=body.get("with_audit", False),
    )

"""Use case: all that is known of one user, as JSON."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any

from shared.errors import NotFoundError
from shared.validation import format_timestamp
from web.leaving.erasure import UNKNOWN, find_known, jwt_caller, kept_batches, recipients_of
from web.services import WebServices


def export_user(services: WebServices, user_id: str) -> dict[str, Any]:
    """Return all that is known of a user.

    Raises:
        NotFoundError: there is no such user, and nothing is kept of one.
    """
    user = find_known(services, user_id)
    resets = services.resets.find_of_user(user_id, with_older=True)
    recipients = recipients_of(user)
    tokens = [each for each in services.callers.list_tokens() if each.user_id == user_id]
    suppressions = zip(recipients, map(services.suppressions.find, recipients), strict=True)
    marks = {user_id, jwt_caller(services, user_id)} | {each.reset_id for each in resets}
    marks |= {services.suppressions.digest(each) for each in recipients}
    found = {
        "resets": resets,
        "refusals": services.refusals.find_of_user(user_id),
        "guesses": services.code_store.list_guesses(user_id),
        "limits": services.limits.read_user(services.digests.user_place(user_id)),
        "webhooks": services.webhooks.find_of_user(services.digests.user_place(user_id)),
        "tokens": [{"tokenId": each.token_id, "orgId": each.org_id} for each in tokens],
        "batches": [
            {"batchId": batch.batch_id, "lines": number}
            for batch in kept_batches(services)
            if (number := services.batch_lists.find_user([batch], user_id))
        ],
        "suppressions": [
            {"address": recipient.address, **_plain(each)}
            for recipient, each in suppressions
            if each
        ],
    }
    if user is None and not any(found.values()):
        raise NotFoundError(UNKNOWN)
    audit = services.audit.find_about(marks)
    found |= {"userId": user_id, "user": user, "auditEntries": audit}
    return {name: _plain(value) for name, value in found.items()}


def _plain(value: Any) -> Any:
    """Return a value as JSON has it, with names as on the wire."""
    if is_dataclass(value):
        named = {each.name: getattr(value, each.name) for each in fields(value)}
        return {_camel(name): _plain(each) for name, each in named.items()}
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return format_timestamp(value) if isinstance(value, datetime) else value


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)

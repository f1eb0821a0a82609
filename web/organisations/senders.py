"""Show, change and check how organisations send, for the API and the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from shared.errors import InvalidRequestError
from shared.models import Channel
from shared.organisations.domain_check import OWNER_LABEL, DomainCheck
from shared.organisations.sender import IN_USE, From, Sender, Value, own_name
from shared.organisations.sender_checks import FACTS, SenderReader
from shared.validation import format_timestamp, moment
from web.admin.actions import AuditReason
from web.services import WebServices


def change_sender(
    services: WebServices, org_id: str, former: Sender, body: Mapping[str, Any], why: AuditReason
) -> None:
    """Replace what the organisation sends by; secrets that are left out stay.

    Raises:
        ProfileError: it names the field.
        VersionConflictError: it was changed since `former` was read.
    """
    reader = SenderReader(
        former=former,
        seal=partial(services.senders.seal, org_id),
        unseal=partial(services.senders.unseal, org_id),
        now_ms=int(services.dues.now_ms()),
        allow_private=services.settings.webhook_allow_private,
    )
    sender = reader.read(body)
    with services.audit.acting(why.act("organisation.sender", org_id)):
        services.senders.save(org_id, sender, version=former.version)


def remove_sender(services: WebServices, org_id: str, former: Sender, why: AuditReason) -> None:
    """Send as the installation does again.

    Raises:
        VersionConflictError: it was changed since `former` was read.
    """
    with services.audit.acting(why.act("organisation.remove_sender", org_id)):
        services.senders.save(org_id, None, version=former.version)


def check_sender(
    services: WebServices,
    org_id: str,
    sender: Sender,
    why: AuditReason,
    *,
    dns: DomainCheck | None,
) -> From:
    """Ask DNS whether the From may be used, or trust it (`dns` None); return it as it is now.

    While DNS does not answer, a From that was verified stays so.

    Raises:
        InvalidRequestError: there is no From.
    """
    if sender.from_ is None:
        raise InvalidRequestError("the organisation has no From; set email.fromAddress first")
    state, findings = "trusted", dict[str, str]()
    if dns is not None:
        route = sender.routes.get(Channel.EMAIL)
        carriers = route.providers if route else services.provider_names[Channel.EMAIL]
        token = owner_token(services, org_id, sender.from_)
        state, findings = dns.check(sender.from_, token, carriers)
        if state == "unknown" and sender.from_.state in IN_USE:
            state = sender.from_.state
    now_ms = int(services.dues.now_ms())
    checked = replace(sender.from_, state=state, findings=findings, checked_at_ms=now_ms)
    action = "organisation.check_sender" if dns else "organisation.trust_sender"
    with services.audit.acting(why.act(action, org_id)) as ending:
        ending["target"] = f"{org_id} {state}"
        services.senders.save(org_id, replace(sender, from_=checked), version=sender.version)
    return checked


def owner_token(services: WebServices, org_id: str, from_: From) -> str:
    """Return what the domain of a From must publish to show whose it is."""
    domain = from_.address.rpartition("@")[2].lower()
    return f"keyturn={services.digests.digest('from domain', f'{org_id} {domain}')}"


def write_sender(services: WebServices, org_id: str, sender: Sender) -> dict[str, Any]:
    """Return a sender as it is shown: no secret, but when each was set and how it ends."""
    shown: dict[str, Any] = {channel.value: None for channel in Channel}
    secrets: dict[str, Any] = {}
    for channel, route in sender.routes.items():
        fields: dict[str, Any] = {
            "providers": list(route.providers),
            "fallback": route.has_fallback,
        }
        if channel is Channel.SMS:
            fields["countries"] = list(route.countries)
        for name, account in route.accounts.items():
            fields[name] = {}
            for key, values in account.items():
                fact, path = FACTS[name][key], f"{channel}.{name}.{key}"
                if fact.is_secret:
                    secrets[path] = [_write_secret(each) for each in values]
                else:
                    texts = [each.text for each in values]
                    fields[name][key] = texts if fact.most > 1 else texts[0]
        shown[channel.value] = fields
    own = {"secrets": secrets, "from": None}
    if from_ := sender.from_:
        shown["email"] = (shown["email"] or {}) | {
            "fromAddress": from_.address,
            "fromName": from_.name,
            "dkimSelectors": list(from_.dkim_selectors),
        }
        is_used, settings = from_.state in IN_USE, services.settings
        at_ms = from_.checked_at_ms
        own["from"] = {
            "state": from_.state,
            "inUse": from_.address if is_used else settings.email_from,
            "checkedAt": format_timestamp(moment(at_ms)) if at_ms else None,
            "findings": dict(from_.findings),
            "ownerRecord": f"{OWNER_LABEL}.{from_.address.rpartition('@')[2]}",
            "ownerToken": owner_token(services, org_id, from_),
        }
    names = [own_name(org_id, c, each) for c, r in sender.routes.items() for each in r.providers]
    return {"orgId": org_id} | shown | {"status": own | {"providers": names}}


def _write_secret(value: Value) -> dict[str, Any]:
    return {"setAt": format_timestamp(moment(value.at_ms)), "hint": value.hint or None}

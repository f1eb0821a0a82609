"""Resets: find and list them, show one and its user, and the buttons of both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from urllib.parse import quote, urlencode

from flask import Response, g, request

from shared.errors import InvalidRequestError, NotFoundError
from shared.models import Channel, Kind, Reset, Status, User
from shared.policies import provider_names
from shared.validation import parse_timestamp
from web.admin import actions
from web.admin.actions import AuditReason, ResendRequest, resend
from web.auth import SYSTEM_WRITE, USER_READ, USER_WRITE
from web.console.frame import Question, ask, caller_here, console, go, read_form, show, why
from web.explain.diagnosis import ALIVE
from web.explain.model import Explanation
from web.explain.query import (
    PageRequest,
    explain_reset,
    explain_user,
    find_reset_for,
    list_resets,
    read_page,
)
from web.http import current_services
from web.services import WebServices

ON_A_PAGE = 25
MOST_SCANNED = 1000  # of a page: further back is another click
MAX_TYPED = 320  # characters of an address
FILTERS = ("user", "status", "provider", "request", "since", "until")
TYPES = {Channel.EMAIL: "TYPE_EMAIL", Channel.SMS: "TYPE_SMS"}
# What is done to a reset: how, its word, what will happen, what has happened.
VERBS: dict[str, tuple[Callable[[WebServices, str, AuditReason], None], str, str, str]] = {
    "hold": (actions.hold, "Hold", "It waits until it is released.", "It is held."),
    "release": (actions.release, "Release", "It is sent at its turn.", "It is released."),
    "void": (actions.void, "Void", "Its code ends, in every copy.", "Its code has ended."),
}


@console.get("/console/resets")
def list_all() -> Response:
    """List resets by user, status, provider, request and time; of a user, say what happened."""
    services, filled = current_services(), {n: v for n, v in request.args.items() if v.strip()}
    page = list_resets(services, g.console_session.credentials, _read_wanted(filled))
    user = _visible_user(services, filled.get("user", ""))
    kept = {name: filled[name] for name in FILTERS if name in filled}
    return show(
        "resets.html",
        page=page,
        filled=kept,
        statuses=list(Status),
        providers=actions.known_providers(services),
        further=urlencode(kept | {"page": page.token}) if page.token else "",
        user=user,
        explanation=_explain_user(services, user) if user else None,
        buttons=list(_buttons_of_user(services, user)) if user else [],
    )


@console.post("/console/resets/_find")
def find() -> Response:
    """Lead to what a text names: a reset, a user, an address, else a request."""
    services, text = current_services(), read_form().get("q", "").strip()
    if not text or len(text) > MAX_TYPED or not text.isprintable():
        return go("/resets", "Give an id, an address or a phone number.")
    reset = services.resets.find(text)
    if reset and _may_read(services, reset):
        return go(f"/resets/{quote(text, safe='')}")
    known = [services.directory.find_user(text)]
    known += services.directory.find_by_identifier(text, None)
    users = {each.user_id: each for each in known if each and _may_read(services, each)}
    if len(users) > 1:
        return show("people.html", users=list(users.values()))
    if users or any(_may_read(services, each) for each in services.resets.find_of_user(text)):
        return go(_of_user(next(iter(users), text)))
    if "@" in text or text.startswith("+"):  # addresses stand in no URL
        return go("/resets", "No user whom you may see has this address.")
    return go(f"/resets?{urlencode({'request': text})}")


@console.get("/console/resets/<reset_id>")
def show_one(reset_id: str) -> Response:
    """Show a reset: what happened, its timeline, attempts, and its buttons."""
    services = current_services()
    reset, recipient = find_reset_for(services, g.console_session.credentials, reset_id)
    found, buttons = explain_reset(services, reset), list(_buttons_of_reset(services, reset))
    return show("reset.html", reset=reset, recipient=recipient, explanation=found, buttons=buttons)


@console.route("/console/resets/<reset_id>/<verb>", methods=["GET", "POST"])
def act_on(reset_id: str, verb: str) -> Response:
    """Hold, release or void a reset, or send again by a channel (`resend-sms`)."""
    services = current_services()
    reset = services.resets.find(reset_id)
    reset = services.auth.authorize_reset(caller_here(), reset, USER_WRITE)
    back, channel = f"/resets/{reset_id}", verb.removeprefix("resend-")
    if channel in list(Channel) and channel != verb:
        text = f"{reset.user_id} gets a fresh code; the user's cool-down does not apply."
        question = Question(f"Send again by {channel}", text, "Send", back)
        return ask(question, lambda filled: _resend(services, reset, Channel(channel), filled))
    if verb not in VERBS:
        raise NotFoundError
    use_case, word, text, done = VERBS[verb]
    question = Question(f"{word} {reset_id}", text, word, back, is_grave=verb == "void")
    return ask(question, lambda filled: use_case(services, reset_id, why(filled)) or done)


@console.route("/console/users/<path:user_id>/limits", methods=["GET", "POST"])
def clear_limits(user_id: str) -> Response:
    """Clear what the limits of a user have counted."""
    services = current_services()
    services.auth.authorize_user(caller_here(), _find_user(services, user_id))

    def act(filled: Mapping[str, str]) -> str:
        cleared = actions.clear_limit(services, "user", user_id, why(filled))
        return f"Cleared: {', '.join(cleared)}." if cleared else "Nothing was counted."

    text = "The user may ask again at once, and a typed code that was guessed at works again."
    return ask(Question(f"Clear the limits of {user_id}", text, "Clear", _of_user(user_id)), act)


@console.route("/console/users/<path:user_id>/lift/<channel>", methods=["GET", "POST"])
def lift(user_id: str, channel: str) -> Response:
    """Lift the suppression of a user's address and send a fresh reset."""
    services = current_services()
    services.auth.authorize_instance(caller_here(), SYSTEM_WRITE)
    user = _find_user(services, user_id)
    recipient = user.recipient(Channel(channel)) if user and channel in list(Channel) else None
    if recipient is None:
        raise NotFoundError

    def act(filled: Mapping[str, str]) -> str:
        resent = actions.lift_and_resend(services, recipient, why(filled))
        ends = [f"{each.user_id}: {each.refusal or each.reset_id}" for each in resent]
        return f"The suppression is lifted; fresh resets: {', '.join(ends)}."

    text = f"{recipient.masked} gets messages again, first a fresh reset for each of its users."
    return ask(Question(f"Lift and send to {user_id}", text, "Lift", _of_user(user_id)), act)


@console.route("/console/users/<path:user_id>/addresses", methods=["GET", "POST"])
def show_addresses(user_id: str) -> Response:
    """Show the whole addresses of a user, once."""
    services = current_services()
    user = _visible_user(services, user_id)
    if user is None:
        raise NotFoundError
    found = [each.address for each in (user.email, user.phone) if each]

    def act(filled: Mapping[str, str]) -> str:
        with services.audit.acting(why(filled).act("user.show_addresses", user_id)):
            return f"{user_id}: {', '.join(found) or 'no address'}"

    text = "They are shown once; that you looked stands in the audit trail."
    return ask(Question(f"Show the addresses of {user_id}", text, "Show", _of_user(user_id)), act)


def _resend(
    services: WebServices, reset: Reset, channel: Channel, filled: Mapping[str, str]
) -> str:
    reason, once = why(filled).reason, filled.get("once") or None
    wanted = ResendRequest(reset.reset_id, TYPES[channel], reason, once)
    recorded = resend(services, g.console_session.credentials, wanted)
    return f"A fresh reset is recorded: {recorded.reset_id}."


def _buttons_of_reset(services: WebServices, reset: Reset) -> Iterator[tuple[str, str]]:
    here = f"/resets/{reset.reset_id}"
    if not services.auth.may(caller_here(), reset.org_id, USER_WRITE):
        return
    if reset.kind is not Kind.NOTICE:
        others = [each for each in Channel if each is not reset.channel]
        yield f"Send again by {reset.channel}", f"{here}/resend-{reset.channel}"
        yield from ((f"Send by {other}", f"{here}/resend-{other}") for other in others)
    if reset.is_held:
        yield "Release", f"{here}/release"
    elif not reset.status.is_final and reset.status is not Status.SENDING:
        yield "Hold", f"{here}/hold"
    if reset.status in ALIVE and not reset.code_end and not reset.completed_at:
        yield "Void its code", f"{here}/void"
    organisation = services.callers.find_organisation(reset.org_id)
    providers = provider_names(organisation, reset.channel, services.provider_names[reset.channel])
    for pause in services.pauses.all():
        if not reset.status.is_final and pause.covers(reset, providers):
            where = f"/pauses/{pause.scope}/{quote(pause.name)}/resume"
            yield f"Resume {pause.scope} {pause.name}", where


def _buttons_of_user(services: WebServices, user: User) -> Iterator[tuple[str, str]]:
    caller, here = caller_here(), f"/users/{quote(user.user_id, safe='')}"
    for reset in services.resets.find_of_user(user.user_id)[:1]:
        yield from _buttons_of_reset(services, reset)
    if services.auth.may(caller, user.org_id, USER_WRITE):
        yield "Clear the limits", f"{here}/limits"
    may_lift = services.auth.may_everywhere(caller, SYSTEM_WRITE)
    for recipient in filter(None, (user.email, user.phone)):
        if may_lift and services.suppressions.find(recipient):
            yield f"Lift {recipient.masked} and send", f"{here}/lift/{recipient.channel}"
    yield "Show the addresses", f"{here}/addresses"


def _read_wanted(filled: dict[str, str]) -> PageRequest:
    """Return what to list; times are UTC, as a browser's field writes them or in full."""
    names = {"user": "userId", "status": "status", "since": "since", "page": "pageToken"}
    short = len("2026-01-31T08:00")
    times = {n: filled[n] + ":00Z" * (len(filled[n]) == short) for n in FILTERS[4:] if n in filled}
    query = {names[name]: value for name, value in (filled | times).items() if name in names}
    try:
        until = parse_timestamp(times["until"]) if "until" in times else None
    except ValueError as error:
        raise InvalidRequestError(f"until {error}") from error
    wanted = replace(read_page(query), limit=ON_A_PAGE, most_scanned=MOST_SCANNED, until=until)
    return replace(wanted, provider=filled.get("provider"), request_id=filled.get("request"))


def _explain_user(services: WebServices, user: User) -> Explanation | None:
    """Return what happened to a user, unless some of it is of an organisation out of sight."""
    found = explain_user(services, user.user_id)
    return found if all(_may_read(services, reset) for reset, _ in found.resets) else None


def _find_user(services: WebServices, user_id: str) -> User | None:
    return services.directory.find_user(user_id) if user_id.isprintable() else None


def _visible_user(services: WebServices, user_id: str) -> User | None:
    user = _find_user(services, user_id) if user_id else None
    return user if user and _may_read(services, user) else None


def _may_read(services: WebServices, thing: User | Reset) -> bool:
    return services.auth.may(caller_here(), thing.org_id, USER_READ)


def _of_user(user_id: str) -> str:
    return f"/resets?{urlencode({'user': user_id})}"

"""Verdicts where nothing was recorded: refused and why, or never asked."""

from __future__ import annotations

from shared.models import Channel
from shared.store.refusals import Refusal
from web.facts import Facts, Verdict, VerdictKind
from web.verdict_words import LIMITS, REASONS, at

WORDS = {
    "RecipientMissing": (VerdictKind.NO_ADDRESS, "the user has no verified address there"),
    "CountryNotAllowed": (VerdictKind.BLOCKED, "SMS to the country of that number are not allowed"),
    "RecipientSuppressed": (VerdictKind.BOUNCED, "the address is not written to"),
    "ProviderMissing": (VerdictKind.REFUSED, "no provider is configured for that channel"),
    "UserInactive": (VerdictKind.REFUSED, "the user is locked or deactivated"),
    "UserNotInitialised": (VerdictKind.REFUSED, "the user is not yet initialised"),
    "ResetUserNotInitialised": (VerdictKind.REFUSED, "the user is not yet initialised"),
    "MachineUser": (VerdictKind.REFUSED, "the user is a machine"),
    "UrlNotAllowed": (VerdictKind.REFUSED, "the caller's link leads to a host that is not allowed"),
}
STEPS = {
    "RecipientMissing": "Give the user a verified address in the directory, or ask on the other "
    "channel.",
    "CountryNotAllowed": "Ask by e-mail, or add the country to KEYTURN_SMS_COUNTRIES.",
    "RecipientSuppressed": "Check the address with the user and correct it in the directory; is it "
    "right, `keyturn suppression lift ADDRESS --reason …`.",
    "ProviderMissing": "Set KEYTURN_EMAIL_PROVIDERS or KEYTURN_SMS_PROVIDERS, or ask on the other "
    "channel.",
    "UserInactive": "Activate the user in the directory, then ask again.",
    "UserNotInitialised": "The user finishes signing up first.",
    "ResetUserNotInitialised": "The user finishes signing up first.",
    "MachineUser": "A machine has no password; give it a token instead.",
    "UrlNotAllowed": "Add the host to the organisation (`keyturn org add … --link-host`) or to "
    "KEYTURN_LINK_HOSTS.",
}
CHANNELS = {Channel.EMAIL: " by e-mail", Channel.SMS: " by SMS", None: ""}


def judge_refusal(facts: Facts) -> Verdict:
    """The last request was refused."""
    refusal = facts.refusals[0]
    if refusal.word == "TooManyRequests":
        return _limited(facts, refusal)
    kind, words = WORDS[refusal.word]
    if refusal.word == "RecipientSuppressed" and (found := facts.suppression):
        reason = REASONS.get(found.reason, found.reason)
        words = f"{facts.recipient or 'the address'} is not written to since {at(found.since)} "
        words += f"({reason}, says {found.source})"
    step = STEPS[refusal.word]
    if facts.obstacle is None and refusal.word != "UrlNotAllowed":
        step = f"That has been mended: ask again now. ({step})"
    return Verdict(kind, f"{_asked(refusal)} was refused: {words}.", step)


def _limited(facts: Facts, refusal: Refusal) -> Verdict:
    which = LIMITS.get(refusal.limit, refusal.limit)
    words = f"{_asked(refusal)} was refused by a limit: {which}"
    options = {
        "organisation": f"--org {facts.org_id}",
        "caller": f"--caller {refusal.caller_id}",
        "sms_budget": "--sms-budget",
    }
    option = options.get(refusal.limit, f"--user {facts.user_id}")
    if facts.now >= refusal.until:
        return Verdict(
            VerdictKind.LIMITED, f"{words}, until {at(refusal.until)}.", "That is over: ask again."
        )
    return Verdict(
        VerdictKind.LIMITED,
        f"{words}, until {at(refusal.until)}.",
        f"Wait until then, or `keyturn limit clear {option} --reason …`.",
    )


def judge_silence(facts: Facts) -> Verdict:
    """Nothing was recorded and nothing refused."""
    words = (
        "No request for this user reached Keyturn, or it is older than finished resets are kept."
    )
    if facts.obstacle in WORDS:
        words += f" By the way, one would be refused now: {WORDS[facts.obstacle][1]}."
    step = "Look in the calling system: did it call, and what was answered (X-Request-Id)?"
    return Verdict(VerdictKind.NO_REQUEST, words, step)


def _asked(refusal: Refusal) -> str:
    often = f" ({refusal.times} times since {at(refusal.since)})" if refusal.times > 1 else ""
    named = f", request {refusal.request_id}," if refusal.request_id else ""
    return f"The request{CHANNELS[refusal.channel]} at {at(refusal.at)}{often}{named}"

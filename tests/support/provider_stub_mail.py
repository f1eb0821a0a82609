"""What the stub knows of SendGrid's personalizations: limits, substitutions, whom a 400 names.

Every recipient at `@malformed.example` is refused by name, every one at `@unnamed.example` without.
"""

from __future__ import annotations

from typing import Any

MAX_RECIPIENTS = 1000
MAX_SUBSTITUTION_BYTES = 10_000
MAX_NESTED = 4
NAMED, UNNAMED = "@malformed.example", "@unnamed.example"


def complaints_about(mail: dict[str, Any]) -> list[dict[str, str | None]]:
    """What SendGrid would write into the `errors` of its 400; nothing when it takes the mail."""
    people = mail["personalizations"]
    addresses = [to["email"].lower() for person in people for to in person["to"]]
    if len(addresses) > MAX_RECIPIENTS or len(set(addresses)) < len(addresses):
        return [_complaint("too many, or one more than once", "personalizations")]
    complaints = []
    for number, person in enumerate(people):
        place, values = f"personalizations.{number}", person.get("substitutions", {})
        if len(person["to"]) != 1 or person["to"][0]["email"].endswith(NAMED):
            complaints.append(_complaint("not a valid address", f"{place}.to.0.email"))
        if sum(len((k + v).encode()) for k, v in values.items()) > MAX_SUBSTITUTION_BYTES:
            complaints.append(_complaint("substitutions too large", f"{place}.substitutions"))
        if person["to"][0]["email"].endswith(UNNAMED):
            complaints.append(_complaint("invalid request", None))
    return complaints


def mail_of(mail: dict[str, Any], person: dict[str, Any]) -> dict[str, Any]:
    """The mail one recipient gets."""
    values = person.get("substitutions", {})
    return mail | {
        "personalizations": [person],
        "subject": substitute(mail["subject"], values),
        "content": [
            part | {"value": substitute(part["value"], values)} for part in mail["content"]
        ],
        "headers": mail.get("headers", {}) | person.get("headers", {}),
    }


def substitute(text: str, values: dict[str, str]) -> str:
    """As SendGrid does it: what was put in is read again, so tags may stand in values."""
    for _ in range(MAX_NESTED):
        for tag, value in values.items():
            text = text.replace(tag, value)
    return text


def _complaint(message: str, field: str | None) -> dict[str, str | None]:
    return {"message": message, "field": field, "help": None}

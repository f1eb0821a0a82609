"""Send one mail to many recipients in one SendGrid request; find which ones a refusal names.

A personalization for each recipient, as plain dictionaries: the official helpers cost 15 µs each.
A test compares both.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson

from shared.errors import ProviderError, RefusedTogetherError
from shared.providers.message_checks import checked_address, clean_text, message_headers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.models import BulkEmail, BulkRecipient
    from shared.providers import BulkOutcome
    from shared.providers.transport.http import HttpAnswer

# Source: https://www.twilio.com/docs/sendgrid/api-reference/mail-send/errors; the description of
# the API says of substitutions "10,000 bytes per personalization object".
MAX_RECIPIENTS = 1000
MAX_SUBSTITUTION_BYTES = 10_000
MAX_BYTES_OF_A_CHARACTER = 4
RESET_ID_ARG = "keyturn_reset_id"  # comes back in every event
MALFORMED, TOO_LARGE = 400, 413
# An error's `field` that names one recipient: `personalizations.17.to.0.email`.
_POSITION = re.compile(r"personalizations\W(\d+)")
_NO_RECIPIENT = ("", "null", "personalizations")  # fields that name none in particular


class BulkRequest:
    """The payload of a bulk e-mail, and what an answer means for each recipient."""

    def __init__(self, email: BulkEmail, shared: dict[str, Any]) -> None:
        """`shared` is the payload without recipients."""
        self._size = len(email.recipients)
        self._left_out: dict[int, ProviderError] = {}
        self._sent: list[int] = []  # position in the request → position among the recipients
        self.payload = shared | {"personalizations": self._personalizations(email)}

    def outcomes(
        self, outcome: BulkOutcome | None = None, *, refused_by: HttpAnswer | None = None
    ) -> list[BulkOutcome]:
        """Return the outcome of each recipient; `outcome` is that of the whole request."""
        found: dict[int, BulkOutcome] = dict(self._left_out)
        if outcome is not None:
            found.update(dict.fromkeys(self._sent, outcome))
        if refused_by is not None and refused_by.status in (MALFORMED, TOO_LARGE):
            self._narrow(refused_by, found)
        return [found[position] for position in range(self._size)]

    def _personalizations(self, email: BulkEmail) -> list[dict[str, Any]]:
        made, addresses = [], set()
        for position, each in enumerate(email.recipients):
            try:
                address = checked_address(each)
                values = _checked_values(each)
            except ProviderError as error:
                self._left_out[position] = error
                continue
            if (folded := address.casefold()) in addresses:
                # "Each unique email address … should only be included once."
                self._left_out[position] = RefusedTogetherError(
                    "same_address", "another recipient of this request has the same address"
                )
                continue
            addresses.add(folded)
            self._sent.append(position)
            made.append(_personalization(each, address, values))
        return made

    def _narrow(self, answer: HttpAnswer, found: dict[int, BulkOutcome]) -> None:
        """Narrow a refusal of the whole request to the recipients it names, if any."""
        if len(self._sent) == 1:
            return
        fields = _fields(answer) if answer.status == MALFORMED else []
        named = {int(match[1]) for field in fields if (match := _POSITION.match(field))}
        if any(field.partition(".")[0] not in _NO_RECIPIENT for field in fields):
            return  # the shared part is wrong
        together = RefusedTogetherError(
            f"http_{answer.status}", "SendGrid refused a request with others in it"
        )
        for index, position in enumerate(self._sent):
            if index not in named:
                found[position] = together


def _personalization(
    recipient: BulkRecipient, address: str, values: Mapping[str, str]
) -> dict[str, Any]:
    # All headers stand here: SendGrid does not document that it merges a request's own into these.
    return {
        "to": [{"email": address}],
        "headers": message_headers(recipient),
        "substitutions": values,
        "custom_args": {RESET_ID_ARG: recipient.reset_id},
    }


def _checked_values(recipient: BulkRecipient) -> Mapping[str, str]:
    """Return the substitutions.

    Raises:
        RefusedTogetherError: they are too large for a personalization; a single mail has none.
    """
    values = recipient.values
    characters = sum(map(len, values)) + sum(map(len, values.values()))
    if characters * MAX_BYTES_OF_A_CHARACTER > MAX_SUBSTITUTION_BYTES:
        size = sum(len(clean_text(name + value).encode()) for name, value in values.items())
        if size > MAX_SUBSTITUTION_BYTES:
            raise RefusedTogetherError(
                "too_large_together", "its values are too large for a request with others"
            )
    try:
        "".join(values.values()).encode()
    except UnicodeEncodeError:
        return {name: clean_text(value) for name, value in values.items()}
    return values


def _fields(answer: HttpAnswer) -> list[str]:
    """Return the fields a refusal names; none if it is unreadable."""
    try:
        errors = orjson.loads(answer.body)["errors"]
        return [str(error.get("field") or "") for error in errors]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []

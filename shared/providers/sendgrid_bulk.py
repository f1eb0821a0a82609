"""Many recipients in one request to SendGrid: a personalization each, and whom a No is about.

Plain dictionaries: the official helpers cost 15 µs a recipient; a test holds both side by side.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson

from shared.errors import ProviderError, RefusedTogetherError
from shared.providers.message_checks import checked_address, own_headers, sound_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.models import Circular, Copy
    from shared.providers import CopyOutcome
    from shared.providers.http import HttpAnswer

# Source: https://www.twilio.com/docs/sendgrid/api-reference/mail-send/errors; the description of
# the API says of substitutions "10,000 bytes per personalization object".
MAX_COPIES = 1000
MAX_SUBSTITUTION_BYTES = 10_000
MAX_BYTES_OF_A_SIGN = 4
RESET_ID_ARG = "keyturn_reset_id"  # comes back in every event
MALFORMED, TOO_LARGE = 400, 413
# What an error's `field` says of one recipient: `personalizations.17.to.0.email`.
_POSITION = re.compile(r"personalizations\W(\d+)")
_NOBODY = ("", "null", "personalizations")  # fields that lay the blame on none in particular


class CircularRequest:
    """The payload of a circular, and what an answer to it says of every copy."""

    def __init__(self, circular: Circular, shared: dict[str, Any]) -> None:
        """`shared` is the payload without recipients."""
        self._size = len(circular.copies)
        self._left_out: dict[int, ProviderError] = {}
        self._sent: list[int] = []  # position in the request → position among the copies
        self.payload = shared | {"personalizations": self._personalizations(circular)}

    def outcomes(
        self, told: CopyOutcome | None = None, *, refused_by: HttpAnswer | None = None
    ) -> list[CopyOutcome]:
        """What became of each copy; `told` holds for all in the request that are not named."""
        found: dict[int, CopyOutcome] = dict(self._left_out)
        if told is not None:
            found.update(dict.fromkeys(self._sent, told))
        if refused_by is not None and refused_by.status in (MALFORMED, TOO_LARGE):
            self._lay_blame(refused_by, found)
        return [found[position] for position in range(self._size)]

    def _personalizations(self, circular: Circular) -> list[dict[str, Any]]:
        made, addresses = [], set()
        for position, copy in enumerate(circular.copies):
            try:
                address = checked_address(copy)
                values = _checked_values(copy)
            except ProviderError as error:
                self._left_out[position] = error
                continue
            if (folded := address.casefold()) in addresses:
                # "Each unique email address … should only be included once."
                self._left_out[position] = RefusedTogetherError(
                    "same_address", "another copy of this request goes to the same address"
                )
                continue
            addresses.add(folded)
            self._sent.append(position)
            made.append(_personalization(copy, address, values))
        return made

    def _lay_blame(self, answer: HttpAnswer, found: dict[int, CopyOutcome]) -> None:
        """Narrow a refusal of the whole request down to those it is about, where it can be."""
        if len(self._sent) == 1:
            return
        fields = _fields(answer) if answer.status == MALFORMED else []
        named = {int(match[1]) for field in fields if (match := _POSITION.match(field))}
        if any(field.partition(".")[0] not in _NOBODY for field in fields):
            return  # what all share is wrong
        together = RefusedTogetherError(
            f"http_{answer.status}", "SendGrid refused a request with others in it"
        )
        for place, position in enumerate(self._sent):
            if place not in named:
                found[position] = together


def _personalization(copy: Copy, address: str, values: Mapping[str, str]) -> dict[str, Any]:
    # All headers stand here: nothing says that a request's own are added to a personalization's.
    return {
        "to": [{"email": address}],
        "headers": own_headers(copy),
        "substitutions": values,
        "custom_args": {RESET_ID_ARG: copy.reset_id},
    }


def _checked_values(copy: Copy) -> Mapping[str, str]:
    """The substitutions.

    Raises:
        RefusedTogetherError: they are too large for a personalization; alone there are none.
    """
    values = copy.values
    signs = sum(map(len, values)) + sum(map(len, values.values()))
    if signs * MAX_BYTES_OF_A_SIGN > MAX_SUBSTITUTION_BYTES:
        size = sum(len(sound_text(name + value).encode()) for name, value in values.items())
        if size > MAX_SUBSTITUTION_BYTES:
            raise RefusedTogetherError(
                "too_large_together", "its values are too large for a request with others"
            )
    try:
        "".join(values.values()).encode()
    except UnicodeEncodeError:
        return {name: sound_text(value) for name, value in values.items()}
    return values


def _fields(answer: HttpAnswer) -> list[str]:
    """The fields a refusal names; none when it cannot be read."""
    try:
        errors = orjson.loads(answer.body)["errors"]
        return [str(error.get("field") or "") for error in errors]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []

"""Count the segments of an SMS by the alphabet its text needs.

Source: 3GPP TS 23.038 6.2.1 (alphabet, extension table) and TS 23.040 9.2.3.24.1 (the header of a
part of a longer message takes 7 of 160 septets, or 3 of 70 characters).
"""

from __future__ import annotations

BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENSION = frozenset("\f^{}\\[~]|€")  # each costs two septets: an escape and itself

GSM_7 = "GSM-7"
UCS_2 = "UCS-2"
SINGLE_UNITS = {GSM_7: 160, UCS_2: 70}
PART_UNITS = {GSM_7: 153, UCS_2: 67}


def is_gsm7(text: str) -> bool:
    """Return True if every character is in the GSM 7-bit alphabet or its extension."""
    return all(char in BASIC or char in EXTENSION for char in text)


def segments(text: str) -> tuple[int, str]:
    """Return how many segments a text needs, and its encoding (`GSM-7` or `UCS-2`)."""
    parts, encoding = split_into_parts(text)
    return len(parts), encoding


def split_into_parts(text: str) -> tuple[list[str], str]:
    """Return a text as the segments it is sent in, and its encoding (`GSM-7` or `UCS-2`).

    A character is never cut: an extension pair or a surrogate pair that does not fit moves whole
    into the next part. An empty text is one segment.
    """
    encoding = GSM_7 if is_gsm7(text) else UCS_2
    if sum(_units(char, encoding) for char in text) <= SINGLE_UNITS[encoding]:
        return [text], encoding
    parts, used = [""], 0
    for char in text:
        size = _units(char, encoding)
        if used + size > PART_UNITS[encoding]:
            parts, used = [*parts, ""], 0
        parts[-1] += char
        used += size
    return parts, encoding


def _units(char: str, encoding: str) -> int:
    is_double = char in EXTENSION if encoding == GSM_7 else ord(char) > 0xFFFF  # noqa: PLR2004
    return 2 if is_double else 1

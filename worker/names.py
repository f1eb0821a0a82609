"""Names as they may stand in a message: what others typed greets people and does nothing else."""

from __future__ import annotations

import re
import unicodedata

MOST_CHARACTERS = 60
_JOINERS = "\u200c\u200d"  # invisible, yet part of how Persian and Indic names are written
# What mail programs turn into a link by themselves, and so would carry somebody's phishing.
_ADDRESS = re.compile(r"://|www\.|[^\W_]-?\.-?[^\W_]{2,}|\d\.\d+\.\d", re.IGNORECASE)


def clean_name(raw: str) -> str | None:
    """A name as one line of at most 60 printable characters; None when there is none to use.

    A name that holds an address is not used at all.
    """
    line = " ".join(raw.split())
    if not line.isprintable():
        line = "".join(sign for sign in line if sign.isprintable() or sign in _JOINERS)
        line = line.strip(_JOINERS + " ")
    if not line or _holds_address(line):
        return None
    return line if len(line) <= MOST_CHARACTERS else line[: MOST_CHARACTERS - 1].rstrip() + "…"


def _holds_address(line: str) -> bool:
    """True for hosts too that are spelled with other full stops or with wide letters."""
    if not line.isascii():
        line = unicodedata.normalize("NFKC", line).replace("\u3002", ".")
        line = "".join(sign for sign in line if sign not in _JOINERS)
    return _ADDRESS.search(line) is not None

"""The two roots: SettingsError stands outside, so that no handler swallows it."""

from __future__ import annotations


class SettingsError(Exception):
    """A setting is missing or wrong; the text says how to mend it."""


class KeyturnError(Exception):
    """Root of all that Keyturn raises at run time."""

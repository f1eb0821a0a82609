"""Tests lie in the same tree as what they test; `support` holds what several of them use."""

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent

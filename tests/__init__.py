"""Tests lie in the same tree as what they test; `support` holds what several of them use."""

import os
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
# How much a test tries that invents what it tries; 100 look long, before a release.
EXAMPLES = int(os.environ.get("KEYTURN_TEST_EXAMPLES", "10"))

"""Sphinx: the documentation as a site, built by `./run check`; it loads nothing from elsewhere."""

import sys
from collections import defaultdict
from importlib.metadata import version as version_of
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from shared.languages import Languages  # noqa: E402 - in the checkout
from web.openapi.document import make_document  # noqa: E402

project = "Keyturn"
version = release = version_of("keyturn")
html_title = f"Keyturn {version}"
extensions = ["myst_parser", "sphinx_click"]
myst_heading_anchors = 4
html_theme = "furo"
html_show_sphinx = False
html_show_copyright = False
exclude_patterns = ["conf.py"]


def _list_calls() -> str:
    """Return the page of all calls, by tag, from the same document as /openapi.json."""
    document = make_document("http://127.0.0.1:8080", Languages())
    by_tag = defaultdict(list)
    for path, calls in document["paths"].items():
        for method, call in calls.items():
            if isinstance(call, dict) and "responses" in call:
                row = f"| `{method.upper()} {path}` | {call['summary']} |"
                by_tag[(call.get("tags") or ["Other"])[0]].append(row)
    pieces = ["# Calls", "`/docs` of a running Keyturn has schemas, errors and commands to copy."]
    for tag, rows in by_tag.items():
        pieces += [f"## {tag}", "\n".join(["| call | what it does |", "|---|---|", *rows])]
    return "\n\n".join(pieces) + "\n"


(HERE / "reference" / "calls.md").write_text(_list_calls(), encoding="utf-8")

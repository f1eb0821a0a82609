"""The audit trail: who did what and why, page by page, by a word; as JSON Lines."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain

import orjson
from flask import Response, request

from shared.store.admin.audit import AuditEntry, entry_text
from web.admin.schemas import AUDIT_ENTRY
from web.auth import SYSTEM_READ
from web.console.frame import caller_here, console, show
from web.http import current_services

ON_A_PAGE, MAX_SCANNED = 50, 5000  # entries shown, and read, for a page
MAX_MS = 10**13


@console.get("/console/audit")
def list_audit() -> Response:
    """List the entries that hold a word, the newest first."""
    before_ms = min(request.args.get("before", 0, int), MAX_MS)
    before = datetime.fromtimestamp(before_ms / 1000, UTC) if before_ms > 0 else None
    shown: list[AuditEntry] = []
    last, further, word = None, 0, _word()
    for number, entry in enumerate(_entries(before)):
        is_enough = len(shown) >= ON_A_PAGE or number >= MAX_SCANNED
        if is_enough and last != entry.at:  # what is of one moment stands on one page
            further = round(last.timestamp() * 1000) if last else 0
            break
        last = entry.at
        shown += [entry] if word in entry_text(entry).casefold() else []
    return show("audit.html", entries=shown, further=further, word=request.args.get("q", ""))


@console.get("/console/audit/export")
def export_audit() -> Response:
    """Return all entries that hold a word as JSON Lines."""
    entries, word = _entries(None), _word()
    found = (entry for entry in entries if word in entry_text(entry).casefold())
    first = [entry for entry in [next(found, None)] if entry]  # a store that is away is an error
    lines = (orjson.dumps(AUDIT_ENTRY.dump(each)) + b"\n" for each in chain(first, found))
    headers = {"Content-Disposition": 'attachment; filename="audit.jsonl"'}
    return Response(lines, headers=headers, mimetype="application/x-ndjson")


def _entries(before: datetime | None) -> Iterator[AuditEntry]:
    services = current_services()
    services.auth.authorize_instance(caller_here(), SYSTEM_READ)
    return services.audit.entries(before=before)


def _word() -> str:
    return request.args.get("q", "").strip().casefold()

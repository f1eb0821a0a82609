"""The search for secrets after a run: the server's files, all logs, Flower, metrics."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from faults.planted import Planted

USER_RECORD = b"kt:user:"  # the directory's own: the only place where addresses may stand
PIECE_BYTES = 1 << 24
OVERLAP_BYTES = 1 << 12  # no secret is longer
FLOWER_PAGES = ("/workers", "/tasks", "/broker", "/api/workers", "/metrics")
SOME = 20  # pages of single tasks


@dataclass
class Search:
    """What was looked through, and what was found: kind and place, never the thing itself."""

    planted: Planted
    flower_login: str = ""
    looked_at: Counter[str] = field(default_factory=Counter)  # place → bytes
    found: Counter[tuple[str, str]] = field(default_factory=Counter)

    def look(self, place: str, content: bytes) -> None:
        self.looked_at[place] += len(content)
        for kind in self.planted.find(content):
            self.found[kind, place] += 1

    def look_in_file(self, path: Path, *, piece_bytes: int = PIECE_BYTES) -> None:
        """A file as it is, piece by piece."""
        with path.open("rb") as file:
            rest = b""
            while piece := file.read(piece_bytes):
                self.look(path.name, rest + piece)
                rest = piece[-OVERLAP_BYTES:]

    def look_in_commands(self, path: Path) -> None:
        """An append-only file of the server, without the commands on the directory's records."""
        for command in read_commands(path):
            if not (len(command) > 1 and command[1].startswith(USER_RECORD)):
                self.look(path.name, b" ".join(command))

    def look_at_tasks(self, flower: str) -> None:
        """The list of tasks, and the pages of some, as an operator would open them."""
        listed = list(json.loads(self.look_at_page(flower, "/api/tasks?limit=10000") or b"{}"))
        for task_id in listed[:: len(listed) // SOME + 1]:
            self.look_at_page(flower, f"/task/{task_id}", place="/task/…")

    def look_at_page(self, url: str, path: str, *, place: str = "") -> bytes:
        """What a server answers; nothing when it does not."""
        try:
            login = {"Authorization": f"Basic {b64encode(self.flower_login.encode()).decode()}"}
            request = urllib.request.Request(url + path, headers=login)
            with urllib.request.urlopen(request, timeout=30) as answer:
                content = bytes(answer.read())
        except (urllib.error.URLError, OSError):
            return b""
        self.look(f"page {place or path.partition('?')[0]}", content)
        return content


def read_commands(path: Path) -> Iterator[list[bytes]]:
    """The commands of an append-only file; the last may have been cut off by a kill."""
    with path.open("rb") as file:
        while head := file.readline():
            if head[:1] != b"*":
                continue  # a remark of the server, such as #TS:…
            words = []
            for _ in range(int(head[1:])):
                length = file.readline()
                if length[:1] != b"$":
                    return
                words.append(file.read(int(length[1:]) + 2)[:-2])
            yield words

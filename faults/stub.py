"""SendGrid and Twilio on loopback, with faults by dice: `python -m faults.stub --help`.

What it takes stands in its ledger before it answers. One line is one message: when, for which
reset, to whom, with which code, and which fault followed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import time
import uuid
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from faults.people import PREFIXES

LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
CODE = re.compile(r"\b[2-9A-HJ-NP-Z]{4}-[2-9A-HJ-NP-Z]{4}\b")
SLOW_SECONDS = 0.3
MAX_TAKING_SECONDS = 0.01  # a caller gone before that is not served any more
MAX_ANSWERING_SECONDS = 0.06
LIST_LAG_SECONDS = 1.0  # how long Twilio's list does not show what was taken
# What happens to a request, in shares; the rest is answered at once.
FAULTS = {"429": 0.05, "500": 0.05, "cut": 0.04, "hang": 0.01, "slow": 0.03}
BEFORE_TAKING = {"429", "500"}


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, and what is done with it."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    fault: str = ""

    def spell(self) -> bytes:
        body = b"" if self.body is None else json.dumps(self.body).encode()
        lines = [f"HTTP/1.1 {self.status} Stub", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + body


class Providers:
    """Both providers, their ledger and their dice."""

    def __init__(self, ledger: Path, *, dice: random.Random, stubborn_seconds: float, calm: bool):
        self._ledger = os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._dice, self._stubborn_seconds, self._is_calm = dice, stubborn_seconds, calm
        self._first_seen: dict[str, float] = {}
        self._listed: dict[str, list[tuple[float, dict[str, Any]]]] = {}

    def answer(self, method: str, target: str, body: bytes) -> Reply:
        fault = self._draw()
        if fault in BEFORE_TAKING:
            return _refuse(int(fault))
        if method == "GET":
            return self._list(target)
        if urlsplit(target).path == "/v3/mail/send":
            return self._take_mail(json.loads(body), fault)
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        return self._take_sms(form, fault)

    def _draw(self) -> str:
        if self._is_calm:
            return ""
        thrown = self._dice.random()
        for name, share in FAULTS.items():
            if (thrown := thrown - share) < 0:
                return name
        return ""

    def _take_mail(self, mail: dict[str, Any], fault: str) -> Reply:
        message_id = uuid.uuid4().hex[:22]
        person = mail["personalizations"][0]
        to = person["to"][0]["email"]
        if to.startswith("refused"):
            return Reply(400, {"errors": [{"message": f"{to} is not to our liking"}]})
        self._note(
            provider="sendgrid",
            reset_id=person["custom_args"]["keyturn_reset_id"],
            to=to,
            code=_code_in(mail["content"][0]["value"]),
            fault=fault,
            message_id=mail["headers"]["Message-ID"],
            id=message_id,
        )
        return Reply(202, headers={"X-Message-Id": message_id}, fault=fault)

    def _take_sms(self, form: dict[str, str], fault: str) -> Reply:
        to, now = form["To"], time.time()
        if to.startswith(PREFIXES["refused"]):
            return Reply(400, {"code": 21211, "message": f"{to} is no number", "status": 400})
        if to.startswith(PREFIXES["stubborn"]) and self._refuses_still(to, now):
            return _refuse(503)
        message = {
            "sid": f"SM{uuid.uuid4().hex}",
            "status": "queued",
            "to": to,
            "body": form["Body"],
            "direction": "outbound-api",
            "date_created": formatdate(now),
        }
        self._listed.setdefault(to, []).append((now, message))
        self._note(
            provider="twilio",
            reset_id=parse_qs(urlsplit(form["StatusCallback"]).query)["resetId"][0],
            to=to,
            code=_code_in(form["Body"]),
            fault=fault,
            message_id=form["Body"],
            id=message["sid"],
            callback=form["StatusCallback"],
        )
        return Reply(201, message, fault=fault)

    def _refuses_still(self, to: str, now: float) -> bool:
        """Until the code has expired; whoever comes then comes too late."""
        return now - self._first_seen.setdefault(to, now) < self._stubborn_seconds

    def _list(self, target: str) -> Reply:
        to = parse_qs(urlsplit(target).query)["To"][0]
        shown_until = time.time() - LIST_LAG_SECONDS
        shown = [message for at, message in self._listed.get(to, ()) if at <= shown_until]
        return Reply(200, {"messages": shown, "page": 0, "page_size": 100, "next_page_uri": None})

    def _note(self, **facts: object) -> None:
        line = json.dumps({"at": time.time(), **facts}) + "\n"
        os.write(self._ledger, line.encode())


def _code_in(text: str) -> str:
    found = CODE.search(text)
    return found[0] if found else ""


def _refuse(status: int) -> Reply:
    headers = {"Retry-After": "1"} if status == 429 else {}
    return Reply(status, {"code": None, "message": "not now", "status": status}, headers)


class Connection(asyncio.Protocol):
    """One kept-alive connection; requests come one after the other."""

    def __init__(self, providers: Providers, hang_seconds: float) -> None:
        self._providers, self._hang_seconds = providers, hang_seconds
        self._received = b""
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head_ends = self._received.find(b"\r\n\r\n")
        if head_ends < 0:
            return
        length = LENGTH.search(self._received, 0, head_ends)
        whole = head_ends + 4 + int(length[1] if length else 0)
        if len(self._received) < whole:
            return
        method, target, _ = self._received.split(b" ", 2)
        body, self._received = self._received[head_ends + 4 : whole], self._received[whole:]
        pause = random.uniform(0, MAX_TAKING_SECONDS)
        self._loop.call_later(pause, self._take, method.decode(), target.decode(), body)

    def _take(self, method: str, target: str, body: bytes) -> None:
        if not self._transport.is_closing():
            self._send(self._providers.answer(method, target, body))

    def _send(self, reply: Reply) -> None:
        later = self._loop.call_later
        match reply.fault:
            case "cut":
                self._transport.abort()
            case "hang":
                later(self._hang_seconds, self._transport.abort)
            case "slow":
                later(SLOW_SECONDS, self._transport.write, reply.spell())
            case _:
                pause = random.uniform(0, MAX_ANSWERING_SECONDS)
                later(pause, self._transport.write, reply.spell())


async def serve(port: int, providers: Providers, hang_seconds: float) -> None:
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(providers, hang_seconds), "127.0.0.1", port, backlog=512
    )
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hang-seconds", type=float, default=5)
    parser.add_argument("--stubborn-seconds", type=float, default=60)
    parser.add_argument("--calm", action="store_true", help="no faults by dice")
    chosen = parser.parse_args()
    providers = Providers(
        chosen.ledger,
        dice=random.Random(chosen.seed),
        stubborn_seconds=chosen.stubborn_seconds,
        calm=chosen.calm,
    )
    asyncio.run(serve(chosen.port, providers, chosen.hang_seconds))


if __name__ == "__main__":
    main()

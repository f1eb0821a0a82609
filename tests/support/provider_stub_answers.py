"""What the provider stub says: as the providers do, or as a script of faults wants it."""

from __future__ import annotations

import json
import threading
import time
import uuid
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from tests.support.provider_stub_mail import complaints_about, mail_of

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from tests.support.provider_stub import Request

DRIP_SECONDS = 0.05


@dataclass(frozen=True)
class Answer:
    """One answer. `takes` enters the message in the ledger first, and keeps the provider's own
    status, headers and body, so that only `how` and `delay_ms` of the script count."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    delay_ms: float = 0
    # whole · close (answer, then close) · cut (close unanswered) · cut_body · hang · garbage
    # early_hints · drip (a byte at a time) · endless_headers · huge_body
    how: str = "whole"
    takes: bool = False

    @classmethod
    def of_json(cls, status: int, content: Any, **headers: str) -> Answer:
        return cls(status, {"Content-Type": "application/json", **headers}, json.dumps(content))

    def over(self, simulated: Answer) -> Answer:
        return replace(simulated, delay_ms=self.delay_ms, how=self.how)


class Simulation:
    """SendGrid's mail/send and Twilio's Messages.json, with a ledger."""

    def __init__(self, ledger: Path | None, *, list_lag_seconds: float) -> None:
        self.taken: list[dict[str, Any]] = []
        self._ledger = ledger.open("a", buffering=1) if ledger else None
        self._list_lag_seconds = list_lag_seconds
        self._lock = threading.Lock()

    def take(self, request: Request) -> Answer:
        if request.method == "POST" and request.path == "/v3/mail/send":
            return self._take_mail(request)
        if request.path.startswith("/2010-04-01/") and request.path.endswith("/Messages.json"):
            return self._take_sms(request) if request.method == "POST" else self._list_sms(request)
        if request.method == "POST" and "webhook-id" in request.headers:
            return self._take_call(request)
        return Answer.of_json(404, {"errors": [{"message": "no such path"}]})

    def _record(self, entry: dict[str, Any]) -> None:
        with self._lock:
            self.taken.append(entry)
            if self._ledger is not None:
                self._ledger.write(json.dumps(entry) + "\n")

    def _take_mail(self, request: Request) -> Answer:
        mail, message_id = request.json, uuid.uuid4().hex[:22]
        if complaints := complaints_about(mail):
            return Answer.of_json(400, {"errors": complaints})
        for person in mail["personalizations"]:
            self._record({
                "provider": "sendgrid", "at": request.at, "id": message_id,
                "resetId": person.get("custom_args", {}).get("keyturn_reset_id"),
                "to": person["to"][0]["email"], "mail": mail_of(mail, person),
                "recipients": len(mail["personalizations"]),
            })  # fmt: skip
        return Answer(202, {"X-Message-Id": message_id, "Server": "nginx"})

    def _take_call(self, request: Request) -> Answer:
        call, message_id = request.json, f"gw-{uuid.uuid4().hex[:12]}"
        self._record({
            "provider": "http", "at": request.at, "id": message_id, "resetId": call["resetId"],
            "to": call["recipient"], "call": call, "webhookId": request.headers["webhook-id"],
        })  # fmt: skip
        return Answer.of_json(202, {"id": message_id})

    def _take_sms(self, request: Request) -> Answer:
        form, sid = request.form, f"SM{uuid.uuid4().hex}"
        callback = form.get("StatusCallback", "")
        reset_id = callback.partition("resetId=")[2].partition("&")[0].partition("#")[0]
        message = {
            "sid": sid, "status": "queued", "to": form["To"], "from": form.get("From"),
            "body": form.get("Body"), "direction": "outbound-api", "error_code": None,
            "messaging_service_sid": form.get("MessagingServiceSid"), "num_segments": "1",
            "account_sid": request.path.split("/")[3], "api_version": "2010-04-01",
            "date_sent": formatdate(request.at), "date_created": formatdate(request.at),
        }  # fmt: skip
        self._record({
            "provider": "twilio", "at": request.at, "id": sid, "resetId": reset_id,
            "to": form["To"], "form": form, "message": message,
        })  # fmt: skip
        return Answer.of_json(201, message)

    def _list_sms(self, request: Request) -> Answer:
        asked, newest_at = request.query, time.time() - self._list_lag_seconds
        days = {asked.get("DateSent", "")[:10], asked.get("DateSent>", "")[:10]} - {""}
        found = [
            entry["message"]
            for entry in reversed(self.taken)
            if entry["provider"] == "twilio"
            and entry["to"] == asked.get("To", entry["to"])
            and entry["at"] <= newest_at
            and _was_sent_on(entry["at"], days, is_from="DateSent>" in asked)
        ]
        size = int(asked.get("PageSize", "50"))
        return Answer.of_json(
            200, {"messages": found[:size], "page": 0, "page_size": size, "next_page_uri": None}
        )


def _was_sent_on(at: float, days: set[str], *, is_from: bool) -> bool:
    day = time.strftime("%Y-%m-%d", time.gmtime(at))
    return not days or day in days or (is_from and day > min(days))


def write_answer(sock: socket.socket, answer: Answer, stopping: threading.Event) -> bool:
    """Answer; False when the connection ends with it."""
    body = answer.body.encode()
    lines = [f"HTTP/1.1 {answer.status} Stub", *(f"{n}: {v}" for n, v in answer.headers.items())]
    whole = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body
    match answer.how:
        case "whole" | "close":
            sock.sendall(whole)
        case "cut_body":
            length = f"Content-Length: {len(body)}".encode()
            sock.sendall(whole.replace(length, b"Content-Length: %d" % (len(body) + 10)))
        case "early_hints":
            sock.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + whole)
        case "garbage":
            sock.sendall(b"\x00\xff nonsense for somebody@example.com\r\n\r\n")
        case "hang":
            stopping.wait()
        case "drip":
            _drip(sock, (whole[i : i + 1] for i in range(len(whole))), stopping)
        case "endless_headers":
            sock.sendall(b"HTTP/1.1 202 Stub\r\n")
            _drip(sock, (b"X-More: 1\r\n" for _ in range(90)), stopping)
            stopping.wait()
        case "huge_body":
            huge = 2 * 1024 * 1024
            sock.sendall(b"\r\n".join([*(line.encode() for line in lines), b"", b""])
                         .replace(b"\r\n\r\n", b"\r\nContent-Length: %d\r\n\r\n" % huge)
                         + b"x" * huge)  # fmt: skip
    return answer.how == "whole"


def _drip(sock: socket.socket, pieces: Any, stopping: threading.Event) -> None:
    for piece in pieces:
        sock.sendall(piece)
        if stopping.wait(DRIP_SECONDS):
            return

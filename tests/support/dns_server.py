"""A DNS server on loopback that knows TXT records and nothing else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable, Mapping
from typing import Self

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rrset


class DnsServer:
    """`with DnsServer({"acme.example": ["v=spf1 -all"]}) as server: … server.port …`."""

    def __init__(self, records: Mapping[str, Iterable[str]], *, broken: Iterable[str] = ()) -> None:
        """`broken` names get SERVFAIL; any other name has no records."""
        self.records = {name: list(texts) for name, texts in records.items()}
        self.broken, self.asked = set(broken), list[str]()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            data, peer = self._socket.recvfrom(4096)
            if not data:
                return
            query = dns.message.from_wire(data)
            question = query.question[0]
            name = question.name.to_text(omit_final_dot=True).lower()
            self.asked.append(name)
            answer = dns.message.make_response(query)
            answer.flags |= dns.flags.RA
            if name in self.broken:
                answer.set_rcode(dns.rcode.SERVFAIL)
            elif name in self.records:
                texts = [f'"{text}"' for text in self.records[name]]
                answer.answer.append(dns.rrset.from_text(question.name, 60, "IN", "TXT", *texts))
            else:
                answer.set_rcode(dns.rcode.NXDOMAIN)
            self._socket.sendto(answer.to_wire(), peer)

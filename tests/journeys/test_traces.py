"""A collector gets one trace over the processes: by OTLP, from the standard variables."""

from __future__ import annotations

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.journeys.stack import Stack
from tests.support.waiting import wait_until


class Collector:
    """An OTLP/HTTP collector that keeps (service, trace id, name) of every span, and the bytes."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, str, str]] = []
        self.raw = b""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _take(self, path: str, body: bytes) -> None:
        assert path == "/v1/traces"
        self.raw += body
        for told in ExportTraceServiceRequest.FromString(body).resource_spans:
            names = {a.key: a.value.string_value for a in told.resource.attributes}
            for scope in told.scope_spans:
                for span in scope.spans:
                    self.spans.append((names["service.name"], span.trace_id.hex(), span.name))

    def _handler(collector) -> type[BaseHTTPRequestHandler]:  # noqa: N805  # `self` is the handler
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector._take(self.path, body)
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                """The tests' own lines are enough."""

        return Handler


@pytest.fixture
def collector():
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture
def keyturn(tmp_path, collector):
    keyturn = Stack(tmp_path)
    keyturn.environ |= {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }
    yield keyturn.start()
    keyturn.stop()


def test_a_collector_gets_one_trace_over_web_and_worker(keyturn, collector):
    answer = requests.post(
        f"{keyturn.url}/users/ada/password/_reset",
        headers={"Authorization": f"Bearer {keyturn.token}"},
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    wait_until(
        lambda: (
            {"reset.record", "provider.send", "reset.deliver"}
            <= {name for _, _, name in collector.spans}
        ),
        what=f"the spans; there are {collector.spans}",
    )
    wait_until(
        lambda: any(name.startswith("POST /users") for _, _, name in collector.spans),
        what="the call's span",
    )

    trace_id = next(trace for _, trace, name in collector.spans if name == "reset.record")
    here = {(service, name) for service, trace, name in collector.spans if trace == trace_id}
    assert here >= {
        ("keyturn-web", "POST /users/<user_id>/password/_reset"),
        ("keyturn-web", "reset.record"),
        ("keyturn-worker", "reset.deliver"),
        ("keyturn-worker", "provider.send"),
    }
    assert b"@example.com" not in collector.raw  # ids are any bytes, an at sign among them
    assert keyturn.token.encode() not in collector.raw

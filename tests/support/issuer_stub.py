"""An identity provider on loopback: real keys, discovery and key set over HTTP, signed tokens."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

AUDIENCE = "keyturn-project"
DISCOVERY = "/.well-known/openid-configuration"
ROLES = "urn:zitadel:iam:org:project:roles"
OWN_ORG = "urn:zitadel:iam:user:resourceowner:id"

MAKERS: dict[str, tuple[Callable[[], Any], Any]] = {
    "RSA": (lambda: rsa.generate_private_key(65537, 2048), RSAAlgorithm),
    "P-256": (lambda: ec.generate_private_key(ec.SECP256R1()), ECAlgorithm),
    "P-384": (lambda: ec.generate_private_key(ec.SECP384R1()), ECAlgorithm),
    "P-521": (lambda: ec.generate_private_key(ec.SECP521R1()), ECAlgorithm),
    "secp256k1": (lambda: ec.generate_private_key(ec.SECP256K1()), ECAlgorithm),
    "Ed25519": (ed25519.Ed25519PrivateKey.generate, OKPAlgorithm),
}


@cache
def a_key(kind: str, name: str) -> Any:
    """A private key; the same for the same name, for RSA keys take long to make."""
    return MAKERS[kind][0]()


def public_jwk(kind: str, kid: str | None, **fields: Any) -> dict[str, Any]:
    """The public half of a key as a JSON Web Key."""
    found = json.loads(MAKERS[kind][1].to_jwk(a_key(kind, kid or "").public_key()))
    found.pop("key_ops", None)
    return found | ({"kid": kid} if kid else {}) | {"use": "sig"} | fields


class IssuerStub:
    """Serves what a test puts into `documents`; counts what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.posted: list[dict[str, str]] = []  # forms
        self.status = 200
        self.delay_seconds = 0.0
        self.headers: dict[str, str] = {}
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                stub.asked.append(self.path)
                time.sleep(stub.delay_seconds)
                body = stub.build_body(self.path)
                self.send_response(stub.status if body is not None else 404)
                for name, value in stub.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                stub.posted.append(dict(parse_qsl(self.rfile.read(length).decode())))
                self.do_GET()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.documents: dict[str, Any] = {
            DISCOVERY: {"issuer": self.url, "jwks_uri": f"{self.url}/keys"},
            "/keys": {"keys": [public_jwk("RSA", "one")]},
        }

    def build_body(self, path: str) -> bytes | None:
        found = self.documents.get(path)
        return found if isinstance(found, bytes | None) else json.dumps(found).encode()

    def serve_keys(self, *keys: dict[str, Any]) -> None:
        self.documents["/keys"] = {"keys": list(keys)}

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Sound claims; None takes one away."""
        now = int(time.time())
        sound = {
            "iss": self.url, "aud": AUDIENCE, "sub": "ada", "exp": now + 60, "iat": now,
            OWN_ORG: "acme", ROLES: {"ORG_OWNER": {"acme": "acme.example"}},
        }  # fmt: skip
        return {name: value for name, value in (sound | changes).items() if value is not None}

    def a_token(
        self,
        *,
        kind: str = "RSA",
        kid: str | None = "one",
        alg: str = "RS256",
        header: dict[str, Any] | None = None,
        **changes: Any,
    ) -> str:
        """A token signed with the private key of that kind and id."""
        headers = ({"kid": kid} if kid else {}) | (header or {})
        return jwt.encode(self.claims(**changes), a_key(kind, kid or ""), alg, headers)

    def stop(self) -> None:
        """No longer listens: connections are refused."""
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

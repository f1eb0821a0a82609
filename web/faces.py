"""Which face answers a request on KEYTURN_PORT: RPC by its paths, Flask for all the rest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from web.rpc.http import RpcApplication, is_rpc

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


def choose_face(flask_app: WSGIApplication, rpc_app: RpcApplication) -> WSGIApplication:
    """One application of the two."""

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        face = rpc_app if is_rpc(environ) else flask_app
        return face(environ, start_response)

    return application

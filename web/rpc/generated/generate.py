"""`python -m web.rpc.generated.generate`: write the message classes beside the .proto files.

For developers, after a change of a .proto file; needs grpcio-tools (the extra `test`).
"""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent.parent.parent
PROTOS = sorted(path.relative_to(ROOT) for path in Path(__file__).parent.glob("*.proto"))


def generate(into: Path) -> int:
    """Write `web/rpc/generated/*_pb2.py` and `.pyi` below a directory; the exit status."""
    known = files("grpc_tools") / "_proto"
    status: int = protoc.main(
        [
            "protoc",
            f"--proto_path={ROOT}",
            f"--proto_path={known}",
            f"--python_out={into}",
            f"--pyi_out={into}",
            *map(str, PROTOS),
        ]
    )
    return status


if __name__ == "__main__":
    sys.exit(generate(ROOT))

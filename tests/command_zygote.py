"""A process that has loaded the command line and forks for every command.

Each command still has a process of its own, and starts ten times faster; the tests run hundreds.
One JSON object a line on standard input:
`{"arguments": […], "environ": {…}, "stdout": path, "stderr": path}`; the exit status a line on
standard output.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent


class Zygote:
    """Runs commands; one at a time."""

    def __init__(self, directory: Path) -> None:
        self._out, self._err = directory / "stdout", directory / "stderr"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.command_zygote"],
            cwd=CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, arguments, environ) -> subprocess.CompletedProcess[str]:
        facts = {"stdout": str(self._out), "stderr": str(self._err)}
        wish = json.dumps({"arguments": arguments, "environ": environ, **facts})
        self._process.stdin.write(f"{wish}\n")
        self._process.stdin.flush()
        status = int(self._process.stdout.readline())
        told = self._out.read_text(), self._err.read_text()
        return subprocess.CompletedProcess(["keyturn", *arguments], status, *told)

    def close(self) -> None:
        self._process.communicate(timeout=10)


def serve() -> None:
    import web.cli.batches  # noqa: F401 - loaded before the first fork
    from web.cli import keyturn

    for line in sys.stdin:
        wish = json.loads(line)
        child = os.fork()
        if child == 0:
            become(wish)
            keyturn(wish["arguments"], prog_name="keyturn")
            os._exit(0)  # click exits by itself; never back into the loop
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def become(wish) -> None:
    """The environment and files of the command."""
    os.environ.clear()
    os.environ.update(wish["environ"])
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(wish[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdin = open(os.devnull)  # noqa: SIM115, PTH123 - as long as the process


if __name__ == "__main__":
    serve()

"""`keyturn up`: start the server and the processes of the Procfile, watch and stop them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from shared.errors import SettingsError
from shared.log import set_up_logging
from shared.settings import Settings, load_settings
from shared.wiring import check_server
from web.__main__ import taken_port
from web.up.demo import FirstStart, ReadyLines, open_registry, write_secret_keys
from web.up.valkey import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

log = structlog.get_logger()

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0
STEADY_SECONDS = 10.0  # who lived that long starts again with the first pause
CHILD = Path(__file__).with_name("child.py")


class Child:
    """One process, in a process group of its own, that ends with this process.

    Ctrl-C in a terminal reaches this process alone: it decides who stops when.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environ: Mapping[str, str],
        stop_seconds: float = 10.0,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        """`prepare` runs before each start."""
        self.name = name
        self.stop_seconds = stop_seconds
        self._command = tuple(command)
        self._environ = dict(environ)
        self._prepare = prepare
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._pause_seconds = FIRST_PAUSE_SECONDS
        self._start_again_at = 0.0

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start it. To be called in the main thread: its end would be the child's end too."""
        if self._prepare is not None:
            self._prepare()
        wrapped = (sys.executable, "-I", "-S", str(CHILD), str(os.getpid()), *self._command)
        self._process = subprocess.Popen(  # noqa: S603  # our own commands
            wrapped, env=self._environ, stdin=subprocess.DEVNULL, start_new_session=True
        )
        self._started_at = time.monotonic()
        log.info("process.started", name=self.name, pid=self._process.pid)

    def watch(self) -> None:
        """Notice its end, and start it again once its pause is over."""
        now = time.monotonic()
        if self._process is not None and self._process.poll() is not None:
            self._note_end(now)
        if self._process is None and now >= self._start_again_at:
            self.start()

    def terminate(self) -> None:
        """Ask it to end in order."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def wait(self, seconds: float) -> bool:
        """True when it has ended by then."""
        if self._process is None:
            return True
        try:
            self._process.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired:
            return False
        self.kill()
        return True

    def kill(self) -> None:
        """End it and whatever it started, at once."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _note_end(self, now: float) -> None:
        status = self._process.returncode if self._process is not None else None
        if now - self._started_at >= STEADY_SECONDS:
            self._pause_seconds = FIRST_PAUSE_SECONDS
        log.warning(
            "process.ended", name=self.name, status=status, restart_seconds=self._pause_seconds
        )
        self.kill()
        self._start_again_at = now + self._pause_seconds
        self._pause_seconds = min(self._pause_seconds * 2, LONGEST_PAUSE_SECONDS)


def stop_together(children: Sequence[Child], *, is_forced: Callable[[], bool]) -> None:
    """Ask all to end, wait as long as each may take, then kill what is left."""
    for child in children:
        child.terminate()
    started_at = time.monotonic()
    for child in children:
        while not child.wait(0.1):
            if is_forced() or time.monotonic() - started_at > child.stop_seconds:
                log.warning("process.ended", name=child.name, status="killed")
                child.kill()


CHECKOUT = Path(__file__).resolve().parent.parent.parent
TURN_SECONDS = 0.05
STOP_SECONDS = {"web": 35.0, "grpc": 35.0, "flower": 5.0}
WORKER_STOP_SECONDS = 45.0  # a worker finishes what it is sending
SERVER_START_SECONDS = 120.0  # a large append-only file takes its time
PORT_PATIENCE_SECONDS = 3.0  # children of an `up` that was just killed let go of their ports


class StartRefusedError(Exception):
    """`up` cannot start; the text says why and what to do."""


class Stopping:
    """How often somebody asked to stop: once is in order, twice is at once."""

    def __init__(self) -> None:
        """Listen to Ctrl-C, SIGTERM and a closed terminal from now on."""
        self.asked = 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
                signal.signal(number, self._ask)

    def is_asked(self) -> bool:
        """True once somebody asked."""
        return self.asked > 0

    def is_forced(self) -> bool:
        """True once somebody asked twice."""
        return self.asked > 1

    def _ask(self, _number: int, _frame: object) -> None:
        self.asked += 1
        if self.asked == 1:
            print("Stopping; once more stops at once.", flush=True)  # noqa: T201


def run_up(environ: Mapping[str, str]) -> int:
    """Start everything, look after it until somebody asks to stop; the exit status.

    Raises:
        SettingsError: a setting is wrong.
        RefusedError: another `up` has the data directory, or a port is taken.
    """
    settings, environ = _prepare(environ)
    stopping = Stopping()
    with _only_up(settings.data_dir):
        set_up_logging(settings.log_level, service="up")
        _refuse_taken_ports(settings)
        if settings.redis_url:
            check_server(settings)
        write_secret_keys(settings)
        settings = load_settings(environ)  # with the keys
        processes = Processes(settings, environ)
        try:
            processes.start(stopping)
            first_start, ready = FirstStart(settings, open_registry(settings)), ReadyLines(settings)
            while not stopping.is_asked():
                processes.watch()
                if first_start.is_done():
                    ready.tell_once()
                time.sleep(TURN_SECONDS)
        finally:
            processes.stop(stopping.is_forced)
    return 1 if stopping.is_forced() else 0


def _prepare(environ: Mapping[str, str]) -> tuple[Settings, dict[str, str]]:
    """The settings and the children's environment.

    The data directory is spelled out, and a folder named `web` where `up` was called is not ours.
    """
    data_dir = load_settings(environ).data_dir.resolve()
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    places = (str(CHECKOUT), environ.get("PYTHONPATH"))
    for_children = {
        **environ,
        "KEYTURN_DATA_DIR": str(data_dir),
        "PYTHONPATH": os.pathsep.join(filter(None, places)),
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
    }
    return load_settings(for_children), for_children


@contextmanager
def _only_up(data_dir: Path) -> Iterator[None]:
    """Hold the data directory's lock; the kernel lets go of it however this process ends."""
    with (data_dir / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StartRefusedError(
                f"another `keyturn up` runs on {data_dir}; stop it, or set KEYTURN_DATA_DIR"
            ) from error
        yield


def _refuse_taken_ports(settings: Settings) -> None:
    until = time.monotonic() + PORT_PATIENCE_SECONDS
    for variable, host, port in (
        ("KEYTURN_PORT", settings.host, settings.port),
        ("KEYTURN_GRPC_PORT", settings.host, settings.grpc_port),
        ("KEYTURN_FLOWER_PORT", settings.flower_host, settings.flower_port),
    ):
        while reason := taken_port(host, port):
            if time.monotonic() > until:
                raise StartRefusedError(f"{reason}; set {variable} to a free one")
            time.sleep(TURN_SECONDS)


class Processes:
    """The embedded server, when it is wanted, and the children, in the order of their start."""

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        """Starts nothing yet."""
        self._server = None if settings.redis_url else EmbeddedServer(settings.data_dir)
        self._server_child = None
        if self._server is not None:
            self._server_child = Child(
                "server", self._server.command(), environ=environ, prepare=self._server.prepare
            )
        self._children = build_children(environ)

    def start(self, stopping: Stopping) -> None:
        """Start the server, wait until it answers, then start the others.

        Raises:
            RefusedError: the server does not come up.
        """
        if self._server is not None and self._server_child is not None:
            if not self._server.is_running():
                self._server_child.start()
            self._wait_for(self._server, stopping)
        for child in self._children:
            child.start()

    def watch(self) -> None:
        """Start again what died."""
        self._watch_server()
        for child in self._children:
            child.watch()

    def stop(self, is_forced: Callable[[], bool]) -> None:
        """Stop the faces first, then Flower, then the workers, and the server when all are gone."""
        workers = {child.name for child in self._children} - STOP_SECONDS.keys()
        for names in ({"web", "grpc"}, {"flower"}, workers):
            children = [child for child in self._children if child.name in names]
            stop_together(children, is_forced=is_forced)
        if self._server is not None and self._server_child is not None:
            self._server.stop()
            stop_together([self._server_child], is_forced=is_forced)

    def _is_adopted(self) -> bool:
        """True while a server runs that an earlier `up` started."""
        return (
            self._server is not None
            and self._server_child is not None
            and self._server_child.pid is None
            and self._server.is_running()
        )

    def _wait_for(self, server: EmbeddedServer, stopping: Stopping) -> None:
        until = time.monotonic() + SERVER_START_SECONDS
        while not server.is_ready():
            if stopping.is_asked() or time.monotonic() > until:
                raise StartRefusedError(
                    f"the embedded server does not answer; see {server.directory / 'valkey.log'}"
                )
            self._watch_server()
            time.sleep(TURN_SECONDS)

    def _watch_server(self) -> None:
        if self._server_child is not None and not self._is_adopted():
            self._server_child.watch()


def build_children(environ: Mapping[str, str], checkout: Path = CHECKOUT) -> list[Child]:
    """Return the processes of the Procfile, as this Python runs them, wherever `up` was called.

    Raises:
        RefusedError: there is no Procfile.
    """
    try:
        lines = (checkout / "Procfile").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise StartRefusedError(
            f"there is no Procfile in {checkout}: `up` runs from a checkout; an installed Keyturn "
            "is started process by process (README, Processes)"
        ) from error
    programs = {"python": (sys.executable,), "celery": (sys.executable, "-m", "celery")}
    children = []
    for name, _, command in (line.partition(": ") for line in lines if line.strip()):
        program, *arguments = shlex.split(command.replace("--conf=", f"--conf={checkout}/"))
        words = (*programs.get(program, (program,)), *arguments)
        seconds = STOP_SECONDS.get(name, WORKER_STOP_SECONDS)
        children.append(Child(name, words, environ=environ, stop_seconds=seconds))
    return children


def main() -> int:
    """`keyturn up` without the rest of the command line; the exit status."""
    os.umask(0o077)
    try:
        return run_up(os.environ)
    except (SettingsError, StartRefusedError, PermissionError) as error:
        print(f"keyturn up: {error}", file=sys.stderr, flush=True)  # noqa: T201
        return 1


if __name__ == "__main__":
    sys.exit(main())

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
from shared.wiring import check_directory, check_server
from web.up.demo import DemoSeeder, ReadyMessage, read_logins, write_secret_keys
from web.up.probe import LiveProbe, taken_port
from web.up.valkey import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

log = structlog.get_logger()

CHECKOUT = Path(__file__).resolve().parent.parent.parent
CHILD = Path(__file__).with_name("child.py")
POLL_SECONDS = 0.05
WATCH_SECONDS = 0.5  # between two looks at processes that run
STOP_SECONDS = {"web": 35.0, "grpc": 35.0, "flower": 5.0}
WORKER_STOP_SECONDS = 45.0  # a worker finishes what it is sending
SERVER_START_SECONDS = 120.0  # loading a large append-only file takes long
FIRST = ("web", "grpc", "worker")  # what `ready` waits for; the others leave them the processors
LATER_SECONDS = 2.0
PORT_WAIT_SECONDS = 3.0  # until the children of a killed `up` have freed their ports
MIN_RESTART_SECONDS = 0.2
MAX_RESTART_SECONDS = 5.0
STABLE_SECONDS = 10.0  # after this uptime the next restart waits the minimum again


class StartRefusedError(Exception):
    """`up` cannot start; the text is the reason and the remedy."""


def run_up(environ: Mapping[str, str]) -> int:
    """Start all processes and supervise them until a signal; return the exit status.

    Raises:
        SettingsError: a setting is wrong.
        StartRefusedError: another `up` uses the data directory, or a port is taken.
    """
    settings, environ = _prepare(environ)
    signals = StopSignals()
    with _lock_data_dir(settings.data_dir):
        set_up_logging(settings.log_level, service="up")
        _refuse_taken_ports(settings)
        write_secret_keys(settings)
        read_logins(settings)  # which writes one
        settings = load_settings(environ)  # with the keys
        processes = Processes(settings, environ)
        try:
            processes.start_server(signals)
            check_server(settings)
            check_directory(settings)
            processes.start()
            demo = DemoSeeder(settings)
            ready = ReadyMessage(settings, make_link=demo.make_link)
            while not signals.count:
                processes.restart_ended()
                if demo.is_done():
                    ready.print_once()
                time.sleep(WATCH_SECONDS if ready.is_printed else POLL_SECONDS)
        finally:
            processes.stop(signals.is_forced)
    return 1 if signals.is_forced() else 0


def _prepare(environ: Mapping[str, str]) -> tuple[Settings, dict[str, str]]:
    """Create the data directory; return the settings and the children's environment.

    The data directory is made absolute, and modules come from the checkout, never from the current
    directory.
    """
    data_dir = load_settings(environ).data_dir.resolve()
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    paths = (str(CHECKOUT), environ.get("PYTHONPATH"))
    child_environ = {
        **environ,
        "KEYTURN_DATA_DIR": str(data_dir),
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
    }
    return load_settings(child_environ), child_environ


@contextmanager
def _lock_data_dir(data_dir: Path) -> Iterator[None]:
    """Hold the data directory's lock; the kernel releases it however this process ends."""
    with (data_dir / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StartRefusedError(
                f"another `keyturn up` runs on {data_dir}; stop it, or set KEYTURN_DATA_DIR"
            ) from error
        yield


def _refuse_taken_ports(settings: Settings) -> None:
    until = time.monotonic() + PORT_WAIT_SECONDS
    for variable, host, port in (
        ("KEYTURN_PORT", settings.host, settings.port),
        ("KEYTURN_GRPC_PORT", settings.host, settings.grpc_port),
        ("KEYTURN_FLOWER_PORT", settings.flower_host, settings.flower_port),
    ):
        while reason := taken_port(host, port):
            if time.monotonic() > until:
                raise StartRefusedError(f"{reason}; set {variable} to a free one")
            time.sleep(POLL_SECONDS)


class StopSignals:
    """Counts stop signals: the first stops in order, the second at once."""

    def __init__(self) -> None:
        """Handle Ctrl-C, SIGTERM and a closed terminal from now on."""
        self.count = 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
                signal.signal(number, self._handle)

    def is_forced(self) -> bool:
        """Return True after the second signal."""
        return self.count > 1

    def _handle(self, _number: int, _frame: object) -> None:
        self.count += 1
        if self.count == 1:
            print("Stopping; a second signal stops at once.", flush=True)  # noqa: T201


class Processes:
    """The embedded server, unless KEYTURN_REDIS_URL names another, and the Procfile's processes."""

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        """`environ` is the children's."""
        self._server = None if settings.redis_url else EmbeddedServer(settings.data_dir)
        self._server_child = None
        if self._server is not None:
            self._server_child = Child(
                "server", self._server.command(), environ=environ, prepare=self._server.prepare
            )
        self._children = build_children(environ)
        self._probe = LiveProbe(settings)

    def start_server(self, signals: StopSignals) -> None:
        """Start the server and wait until it answers.

        Raises:
            StartRefusedError: the server does not answer.
        """
        if self._server is not None and self._server_child is not None:
            if not self._server.is_running():
                self._server_child.start()
            self._wait_for(self._server, signals)

    def start(self) -> None:
        """Start those that accept and send resets; `restart_ended` starts the others later."""
        for child in self._children:
            if child.name in FIRST:
                child.start()
            else:
                child.restart_at = time.monotonic() + LATER_SECONDS

    def restart_ended(self) -> None:
        """Restart the processes that have ended, and those of web when nothing answers.

        Raises:
            StartRefusedError: a process ended because of a setting.
        """
        self._restart_server()
        for child in self._children:
            child.restart_if_ended()
            if child.name == "web" and self._probe.is_silent(child.pid):
                log.error("process.silent", name=child.name, pid=child.pid)
                child.kill()

    def stop(self, is_forced: Callable[[], bool]) -> None:
        """Stop web and gRPC first, then Flower, then the workers, and the server last."""
        workers = {child.name for child in self._children} - STOP_SECONDS.keys()
        for names in ({"web", "grpc"}, {"flower"}, workers):
            children = [child for child in self._children if child.name in names]
            stop_together(children, is_forced=is_forced)
        if self._server is not None and self._server_child is not None:
            self._server.stop()
            stop_together([self._server_child], is_forced=is_forced)

    def _wait_for(self, server: EmbeddedServer, signals: StopSignals) -> None:
        until = time.monotonic() + SERVER_START_SECONDS
        while not server.is_ready():
            if signals.count or time.monotonic() > until:
                raise StartRefusedError(
                    f"the embedded server does not answer; see {server.directory / 'valkey.log'}"
                )
            self._restart_server()
            time.sleep(POLL_SECONDS)

    def _restart_server(self) -> None:
        if self._server is None or self._server_child is None:
            return
        is_from_earlier_up = self._server_child.pid is None and self._server.is_running()
        if not is_from_earlier_up:
            self._server_child.restart_if_ended()


def build_children(environ: Mapping[str, str], checkout: Path = CHECKOUT) -> list[Child]:
    """Return the processes of the Procfile, run by this Python from any directory.

    Raises:
        StartRefusedError: there is no Procfile.
    """
    try:
        lines = (checkout / "Procfile").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise StartRefusedError(
            f"there is no Procfile in {checkout}: `up` runs from a checkout; an installed Keyturn "
            "is started process by process (docs/getting-started.md)"
        ) from error
    programs = {"python": (sys.executable,), "celery": (sys.executable, "-m", "celery")}
    children = []
    for name, _, command in (line.partition(": ") for line in lines if line.strip()):
        program, *arguments = shlex.split(command.replace("--conf=", f"--conf={checkout}/"))
        argv = (*programs.get(program, (program,)), *arguments)
        seconds = STOP_SECONDS.get(name, WORKER_STOP_SECONDS)
        children.append(Child(name, argv, environ=environ, stop_seconds=seconds))
    return children


class Child:
    """A process in its own process group that ends with this process.

    Ctrl-C in a terminal reaches this process alone, which stops its children in order.
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
        self._restart_seconds = MIN_RESTART_SECONDS
        self.restart_at = 0.0

    @property
    def pid(self) -> int | None:
        """Return the process id while the process runs."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start the process. Call this in the main thread: a child ends with its parent thread."""
        if self._prepare is not None:
            self._prepare()
        wrapped = (sys.executable, "-I", "-S", str(CHILD), str(os.getpid()), *self._command)
        self._process = subprocess.Popen(  # noqa: S603  # our own commands
            wrapped, env=self._environ, stdin=subprocess.DEVNULL, start_new_session=True
        )
        self._started_at = time.monotonic()
        log.info("process.started", name=self.name, pid=self._process.pid)

    def restart_if_ended(self) -> None:
        """Log the end of the process, and restart it after a backoff."""
        now = time.monotonic()
        if self._process is not None and self._process.poll() is not None:
            self._note_end(now)
        if self._process is None and now >= self.restart_at:
            self.start()

    def terminate(self) -> None:
        """Send SIGTERM."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def wait(self, seconds: float) -> bool:
        """Wait up to so many seconds; return True if the process has ended."""
        if self._process is None:
            return True
        try:
            self._process.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired:
            return False
        self.kill()
        return True

    def kill(self) -> None:
        """Kill the process group."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _note_end(self, now: float) -> None:
        status = self._process.returncode if self._process is not None else None
        if now - self._started_at >= STABLE_SECONDS:
            self._restart_seconds = MIN_RESTART_SECONDS
        log.warning(
            "process.ended", name=self.name, status=status, restart_seconds=self._restart_seconds
        )
        self.kill()
        if status == SettingsError.EXIT_STATUS:
            raise StartRefusedError(f"{self.name} refuses a setting; what it wrote says which")
        self.restart_at = now + self._restart_seconds
        self._restart_seconds = min(self._restart_seconds * 2, MAX_RESTART_SECONDS)


def stop_together(children: Sequence[Child], *, is_forced: Callable[[], bool]) -> None:
    """Terminate all, wait for each up to its `stop_seconds`, then kill those that still run."""
    for child in children:
        child.terminate()
    started_at = time.monotonic()
    for child in children:
        while not child.wait(0.1):
            if is_forced() or time.monotonic() - started_at > child.stop_seconds:
                log.warning("process.ended", name=child.name, status="killed")
                child.kill()


def main() -> int:
    """Run `keyturn up`; return the exit status."""
    os.umask(0o077)
    try:
        return run_up(os.environ)
    except (SettingsError, StartRefusedError, PermissionError) as error:
        print(f"keyturn up: {error}", file=sys.stderr, flush=True)  # noqa: T201
        return 1


if __name__ == "__main__":
    sys.exit(main())

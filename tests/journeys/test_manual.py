"""Every command of README and the guides, run in order as printed, beside a new `keyturn up`."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests import CHECKOUT
from tests.support.subscriber_stub import SubscriberStub
from web.cli import keyturn as command_line

pytestmark = pytest.mark.real_server

PAGES = sorted((CHECKOUT / "docs").glob("*.md"))
# In the order a new user reads them.
RUN = ("README.md", "docs/getting-started.md", "docs/api.md", "docs/users.md", "docs/webhooks.md")
# What a running Keyturn cannot run again, and where it is tried.
ELSEWHERE = {
    "./run": "tests/journeys/test_up.py",
    "./run test": "this is it",
    "./run test quick": "this is it",
    "./run check": ".ci/run",
    "docker compose up": "there is no Docker in the tests; tests/test_architecture.py",
    # Two providers' accounts; tests/contracts
    "export": "tests/shared/settings",
    "./run keyturn provider test": "tests/journeys/test_second_provider_carries.py",
}


def commands(page: Path) -> Iterator[tuple[str, str]]:
    """The commands of a page in order, each with what is printed below it."""
    for block in re.findall(r"^```console\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command = re.match(r"(?:.*\\\n)*.*\n", part)
            assert command is not None
            yield command[0].strip(), part[command.end() :]


def is_elsewhere(command: str) -> bool:
    plain = command.partition("    #")[0].partition("  #")[0].strip()
    return plain in ELSEWHERE or plain.startswith(("export ", "./run keyturn provider test "))


def shape(printed: str) -> str:
    """A pattern of what a page prints: digits are any digits, … anything."""
    pattern = re.escape(printed.strip()).replace("…", ".*")
    return re.sub(r"\d+", r"\\d+", re.sub(r"(\\ )+", r"\\s+", pattern))


class Reader:
    """Types what the pages say, and remembers what was printed, as a person would."""

    def __init__(self, keyturn, folder: Path) -> None:
        self.keyturn, self.folder = keyturn, folder
        self.seen: dict[str, str] = {}
        (folder / ".keyturn").symlink_to(keyturn.data_dir)
        tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environ = keyturn.environ | {"PATH": tools, "PYTHONPATH": str(CHECKOUT)}

    def type(self, command: str, printed: str) -> None:
        """Run a command of a page; it must succeed and print what the page says it prints."""
        if command.startswith("cat ") and not (self.folder / command.split()[1]).exists():
            (self.folder / command.split()[1]).write_text(printed)
        asked = command.replace("./run keyturn ", "keyturn ")
        asked = asked.replace("http://127.0.0.1:8080", self.keyturn.url)
        for placeholder, value in self.seen.items():
            asked = asked.replace(placeholder, value)
        ended = subprocess.run(
            ["bash", "-c", asked],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        shown = ended.stdout + ended.stderr
        assert ended.returncode == 0, f"{asked}\n{shown}"
        assert re.search(shape(printed), shown, re.DOTALL), f"{asked}\n{shown}"
        self.remember(command, shown)

    def remember(self, command: str, printed: str) -> None:
        """Keep the ids that later lines name by a placeholder."""
        names = {"batch plan": "PLAN_ID", "batch start": "BATCH_ID", "webhook add": "hook_…"}
        for words, placeholder in names.items():
            found = re.search(r"\b(?:hook_\w+|[0-9a-f]{16}|[0-9a-z]{20,})\b", printed)
            if words in command and found:
                self.seen[placeholder] = found[0]
        if found := re.search(r"\b[0-9a-z]{26,}\b", printed):
            self.seen["RESET_ID"] = found[0]


def test_what_the_pages_print_works_as_it_stands(start_keyturn, tmp_path):
    with SubscriberStub() as subscriber:
        began = time.monotonic()
        keyturn = start_keyturn(
            KEYTURN_WEBHOOK_ALLOW_PRIVATE="true", KEYTURN_USER_COOLDOWN_SECONDS="0"
        )
        seconds_to_ready = time.monotonic() - began
        reader = Reader(keyturn, tmp_path)
        reader.seen["https://hooks.acme.example/keyturn"] = subscriber.url
        for name in RUN:
            for command, printed in commands(CHECKOUT / name):
                if not is_elsewhere(command):
                    reader.type(command, printed)
    sys.stdout.write(f"from keyturn up to ready: {seconds_to_ready:.1f} s\n")


def test_the_example_in_python_calls_by_grpc(keyturn, tmp_path):
    code = re.search(
        r"^```python\n(.*?)^```", (CHECKOUT / "docs/api.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert code is not None
    (tmp_path / ".keyturn").symlink_to(keyturn.data_dir)
    program = code[1].replace("127.0.0.1:8081", keyturn.grpc_target)

    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    assert "resource_owner" in ended.stdout


@pytest.mark.parametrize("page", [CHECKOUT / "README.md", *PAGES], ids=lambda page: page.name)
def test_every_option_of_a_printed_command_exists(page):
    plain = [re.sub(r"\s#\s.*", "", command) for command, _ in commands(page)]
    lines = [line for command in plain for line in command.split("; ")]
    unknown = []
    for line in lines:
        words = shlex.split(line.replace("\\\n", " "))
        if "keyturn" not in words[:2]:
            continue
        rest = words[words.index("keyturn") + 1 :]
        rest = rest[: next((i for i, word in enumerate(rest) if word in ("|", ">", "&&")), None)]
        try:
            parse(command_line, rest)
        except click.NoSuchOption as error:
            unknown.append(f"{line}: {error.message}")

    assert unknown == []


def parse(command: click.Command, arguments: list[str]) -> None:
    """Read the arguments as the command line does, down to the last command; run nothing."""
    context = click.Context(command)
    _, rest, _ = command.make_parser(context).parse_args(arguments)
    if isinstance(command, click.Group):
        if not rest:
            assert command.invoke_without_command, "which command?"
            return
        further = command.get_command(context, rest[0])
        assert further is not None, f"no command {rest[0]}"
        parse(further, rest[1:])

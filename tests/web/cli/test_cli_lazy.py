"""Commands are imported when they run: `--version` and `--help` load none of them."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from web.cli import COMMANDS, keyturn

HEAVY = ("redis", "celery", "twilio", "flask", "structlog", "rich", "requests")


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_help_and_version_load_no_library_of_a_command(option):
    program = (
        "import sys; sys.argv[1:] = [sys.argv[1]]\n"
        "from web.cli import main\n"
        "try: main()\n"
        f"except SystemExit: print('loaded', [n for n in {HEAVY} if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, option], capture_output=True, text=True, check=True
    )

    assert done.stdout.splitlines()[-1] == "loaded []"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_of_a_command_what_its_own_help_says(name):
    command = keyturn.get_command(click.Context(keyturn), name)

    assert command.name == name
    assert command.get_short_help_str(limit=200) == COMMANDS[name][1]

"""`--help` of every command has an example that fits it; names are completed."""

from __future__ import annotations

import re
import shlex

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from web.cli import keyturn


def commands(command=keyturn, path=()):
    if path:
        yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from commands(command.get_command(context, name), (*path, name))


ALL = {" ".join(path): command for path, command in commands()}


@pytest.mark.parametrize("path", ALL)
def test_every_help_has_an_example_that_the_command_takes(path):
    shown = CliRunner().invoke(keyturn, [*path.split(), "--help"]).output
    line = re.search(r"Example:\n +(.*)", shown)[1].partition(" >")[0].partition("=8090 ")
    words = shlex.split(line[2] or line[0])

    assert words[0] == "keyturn"
    assert [*words[1:]][: len(path.split())] == path.split()
    command, rest = keyturn, words[1:]
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        command, rest = command.get_command(click.Context(command), rest[0]), rest[1:]
    rest = ["-" if each.endswith((".txt", ".json", ".jsonl", ".png", ".toml")) else each for each in rest]  # fmt: skip  # noqa: E501
    command.make_context(command.name, rest)


def completed(*words, start=""):
    found = ShellComplete(keyturn, {}, "keyturn", "_KEYTURN_COMPLETE").get_completions(
        list(words), start
    )
    return [each.value for each in found]


def test_commands_and_options_are_completed():
    assert "reset" in completed(start="re")
    assert completed("reset", start="ho") == ["hold"]
    assert "--reason" in completed("reset", "hold", "x", start="--r")


@pytest.mark.real_server
def test_names_are_completed(run_any, services, real_redis_url, monkeypatch, tmp_path):
    for name, value in {"REDIS_URL": real_redis_url, "SECRET_KEYS": "x" * 40, "DATA_DIR": str(tmp_path)}.items():  # fmt: skip  # noqa: E501
        monkeypatch.setenv(f"KEYTURN_{name}", value)
    monkeypatch.setenv("KEYTURN_SECRET_KEYS", ",".join(services.settings.secret_keys))

    assert completed("user", "show", start="a") == ["ada"]
    assert completed("org", "retention", start="ac") == ["acme"]
    assert completed("pause", "queue", start="ur") == ["urgent"]
    assert completed("pause", "organisation") == ["acme"]
    assert completed("provider", "pause") == ["outbox"]
    assert completed("pause", "channel", start="s") == ["sms"]


def test_without_redis_nothing_is_completed(monkeypatch, tmp_path):
    monkeypatch.setenv("KEYTURN_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("KEYTURN_DATA_DIR", str(tmp_path))

    assert completed("user", "show") == []

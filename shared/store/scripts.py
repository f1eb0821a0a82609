"""The Lua beside this file, sent once and called by digest afterwards."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any, TypeAlias

import redis

from shared.store.connection import Client, store_errors

Argument: TypeAlias = str | int | float

# A script whose first line begins so may write on a full server, and says why; the others are
# refused there before their first write. The flag must stand in the first line of all.
WHEN_FULL = "-- allow-oom:"
ALLOW_OOM = "#!lua flags=allow-oom\n"


@cache
def _source(name: str) -> tuple[str, str]:
    folder = files("shared.store") / "lua"
    script = (folder / f"{name}.lua").read_text()
    flags = ALLOW_OOM if script.startswith(WHEN_FULL) else ""
    text = flags + (folder / "prelude.lua").read_text() + script
    return text, hashlib.sha1(text.encode()).hexdigest()  # noqa: S324 - Redis names scripts so


class Scripts:
    """Calls scripts by name."""

    def __init__(self, client: Client) -> None:
        """`client` may be a fake one."""
        self._client = client

    def run(self, name: str, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """What the script answers.

        Raises:
            StoreUnavailableError: Redis did not answer, or refused to write.
        """
        text, digest = _source(name)
        with store_errors():
            try:
                return self._client.execute_command("EVALSHA", digest, len(keys), *keys, *arguments)
            except redis.exceptions.NoScriptError:
                return self._client.execute_command("EVAL", text, len(keys), *keys, *arguments)

    def run_many(
        self, name: str, calls: Sequence[tuple[Sequence[str], Sequence[Argument]]]
    ) -> list[Any]:
        """What the script answers to each (keys, arguments), in one round trip."""
        text, digest = _source(name)
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            pipeline.script_load(text)
            for keys, arguments in calls:
                pipeline.execute_command("EVALSHA", digest, len(keys), *keys, *arguments)
            answers: list[Any] = pipeline.execute()
            return answers[1:]

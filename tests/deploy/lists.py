"""Write the lists of all settings in deploy/: `python -m tests.deploy.lists`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from shared.settings import ACCOUNTS, PREFIX, Settings
from tests import CHECKOUT

LIST = CHECKOUT / "deploy" / "settings.env"
SCHEMA = CHECKOUT / "deploy" / "helm" / "keyturn" / "values.schema.json"
FIXED = {f"{PREFIX}{name}" for name in ("PORT", "GRPC_PORT", "FLOWER_PORT", "DATA_DIR")}
MAY_HOLD_A_PASSWORD = {"KEYTURN_REDIS_URL", "KEYTURN_BROKER_URL"}
WIDTH = 110


def variables() -> Iterator[tuple[str, bool]]:
    """Yield every variable that is not the image's own, and whether it is a secret."""
    tables = [(Settings, PREFIX)]
    tables += [
        (table, f"{PREFIX}{name.upper().replace('-', '_')}_")
        for table, names in ACCOUNTS
        for name in names
    ]
    for table, prefix in tables:
        for each in fields(table):
            name = prefix + each.name.rstrip("_").upper()
            if each.metadata and name not in FIXED:
                yield name, not each.repr


def settings_env() -> str:
    """The list for docker-compose: its comment, then each name, and secrets as files too."""
    comment = [line for line in LIST.read_text().splitlines() if line.startswith("#")]
    names = []
    for name, is_secret in variables():
        names += [name] if name != f"{PREFIX}HOST" else []
        # Compose sets the URL of Redis itself.
        names += [f"{name}_FILE"] if is_secret and name != "KEYTURN_REDIS_URL" else []
    return "\n".join([*comment, "", *names, ""])


def values_schema() -> str:
    """The schema of the chart's values: secrets come as files, but for URLs without a password."""
    schema = json.loads(SCHEMA.read_text())
    known = dict(variables())
    plain = {name for name, is_secret in known.items() if not is_secret}
    properties = schema["properties"]
    properties["settings"]["propertyNames"]["enum"] = sorted(plain | MAY_HOLD_A_PASSWORD)
    properties["secret"]["properties"]["settings"]["items"]["enum"] = sorted(known)
    return as_text(schema) + "\n"


def as_text(value: Any, indent: int = 0) -> str:
    """JSON with what fits on a line on one line."""
    line = json.dumps(value)
    if len(line) + indent < WIDTH or not isinstance(value, dict | list):
        return line
    pairs = value.items() if isinstance(value, dict) else [("", each) for each in value]
    pad, (first, last) = " " * (indent + 2), "{}" if isinstance(value, dict) else "[]"
    rows = [
        pad + (f"{json.dumps(name)}: " if name else "") + as_text(each, indent + 2)
        for name, each in pairs
    ]
    return f"{first}\n" + ",\n".join(rows) + f"\n{' ' * indent}{last}"


if __name__ == "__main__":
    LIST.write_text(settings_env())
    SCHEMA.write_text(values_schema())

"""Give the parsers of what strangers send random bytes, guided by coverage (atheris).

`python -m faults.fuzz TARGET` runs one target until libFuzzer's `-max_total_time`; `run_all` runs
each of them in a process of its own. A parser may refuse its input with the error that its caller
expects, and do nothing else; what it takes must hold the target's promise.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import atheris

with atheris.instrument_imports(include=["shared", "web", "email_validator", "phonenumbers"]):
    from shared import validation
    from shared.directories.user_import import parse_line
    from shared.errors import KeyturnError
    from shared.links import check_link_host, check_template, expand_template
    from shared.providers.sendgrid_webhook import parse_events
    from web.batches import schemas as batch_schemas
    from web.batches.uploads import read_entries
    from web.rpc.calls import CALLS, read_message
    from web.schemas import WireSchema, read_body
    from web.webhooks import api as webhook_schemas

from shared.codes import Code

SECONDS_EACH = 20
HOST = "reset.example.com"
SEEDS = {
    "bodies": [
        b'{"type":"TYPE_SMS"}',
        b'{"sendLink":{"urlTemplate":"https://a.example/{{.Code}}"}}',
    ],
    "templates": [b"https://reset.example.com/{{.UserID}}?c={{ .Code }}&o={{.OrgID}}"],
    "addresses": ["jörg@straße.example".encode(), b"a.b+c@xn--strae-oqa.example"],
    "phones": [b"+41 79 123 45 67", b"tel:+1-202-555-0123"],
    "users": [b'{"userId":"ada","orgId":"acme","email":"ada@example.com","phone":"+41791234567"}'],
    "lists": [b'ada\n"bob"\n{"userId":"eve"}\n'],
    "events": [b'[{"event":"bounce","keyturn_reset_id":"x","timestamp":1,"sg_message_id":"y"}]'],
}
assert batch_schemas.BatchRequestSchema
assert webhook_schemas.SubscriptionRequestSchema


def _request_schemas(kind: type[WireSchema] = WireSchema) -> list[WireSchema]:
    found = [each for below in kind.__subclasses__() for each in _request_schemas(below)]
    return found if kind is WireSchema else [kind(), *found]


SCHEMAS = _request_schemas()


def read_bodies(data: bytes) -> None:
    """Read a JSON body by every schema of a request, and a binary message by every call."""
    for schema in SCHEMAS:
        allow(KeyturnError, lambda schema=schema: read_body(data, schema))
    for call in CALLS.values():
        allow(KeyturnError, lambda call=call: read_message(data, call.request))


def read_templates(data: bytes) -> None:
    """Make a link of a template; it leads to the allowed host or is refused."""
    template = data.decode("utf-8", "replace")

    def make() -> None:
        check_template(template)
        check_link_host(template, {HOST}, base=f"https://{HOST}")
        link = expand_template(
            template, user_id="a/b c", code=Code("ABCDEFGH", "ABCDEFGHJKLMNPQRSTUV"), org_id="ü&x=y"
        )
        assert urlsplit(link).hostname == HOST, "the link leads elsewhere"
        assert link.isascii(), "the link is not ASCII"

    allow(KeyturnError, make)


def read_addresses(data: bytes) -> None:
    """Parse an e-mail address; what was taken is taken again, unchanged."""
    _parse_twice(validation.email, data)


def read_phones(data: bytes) -> None:
    """Parse a phone number; what was taken is taken again, unchanged."""
    _parse_twice(validation.phone, data)


def _parse_twice(parse: Callable[[str], str], data: bytes) -> None:
    def run() -> None:
        taken = parse(data.decode("utf-8", "replace"))
        assert taken.isprintable(), "a control character was taken"
        assert parse(taken) == taken, "it is not taken again unchanged"

    allow(ValueError, run)


def read_users(data: bytes) -> None:
    """Parse a line of a user import."""
    allow(ValueError, lambda: parse_line(data))


def read_lists(data: bytes) -> None:
    """Parse a list of users, in pieces of several sizes: the result is the same."""

    def parse(size: int) -> object:
        try:
            return list(read_entries(data[i : i + size] for i in range(0, len(data), size)))
        except KeyturnError as error:
            return str(error)

    whole = parse(len(data) + 1)
    assert parse(1) == whole, "the result depends on the pieces"
    assert parse(7) == whole, "the result depends on the pieces"


def read_events(data: bytes) -> None:
    """Parse a list of SendGrid's events; a part that cannot be read is counted."""
    import orjson  # noqa: PLC0415

    try:
        listed = orjson.loads(data)
    except orjson.JSONDecodeError:
        return
    parsed = parse_events(listed if isinstance(listed, list) else [listed])
    assert len(parsed.events) <= (len(listed) if isinstance(listed, list) else 1)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "bodies": read_bodies,
    "templates": read_templates,
    "addresses": read_addresses,
    "phones": read_phones,
    "users": read_users,
    "lists": read_lists,
    "events": read_events,
}


def allow(expected: type[Exception], run: Callable[[], object]) -> None:
    """Call `run`; only the expected error may leave it."""
    with suppress(expected):
        run()


def run_all(folder: Path, *, seed: int, seconds: int = SECONDS_EACH) -> list[str]:
    """Run every target for so long; return those that failed. Their inputs stand in the folder."""
    failed = []
    for name, seeds in SEEDS.items():
        corpus = folder / name
        corpus.mkdir(parents=True)
        for number, data in enumerate(seeds):
            (corpus / f"seed-{number}").write_bytes(data)
        log = folder / f"{name}.log"
        options = (f"-max_total_time={seconds}", f"-seed={seed}", "-max_len=4096")
        command = [sys.executable, "-m", "faults.fuzz", name, *options]
        with log.open("wb") as output:
            status = subprocess.run(
                [*command, f"-artifact_prefix={folder / name}-", str(corpus)],
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=seconds * 3 + 60,
                check=False,
            ).returncode
        runs = [line for line in log.read_text(errors="replace").splitlines() if "Done" in line]
        print(f"{name:10} {'failed, see ' + str(log) if status else runs[-1]}", flush=True)
        failed += [name] if status else []
    return failed


if __name__ == "__main__":
    atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGETS[sys.argv[1]])
    atheris.Fuzz()

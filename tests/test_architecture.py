"""Rules of the codebase that no linter knows."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
import tomllib
from collections import Counter, defaultdict
from dataclasses import fields
from functools import cache
from itertools import groupby
from pathlib import Path

import pytest
from flask import Flask

from shared import errors, log
from shared.models import Queue
from shared.providers.registry import READERS
from shared.queue import Task
from shared.settings import ACCOUNTS, PREFIX, Gateway, Settings, TwilioAccount
from shared.store import keys
from tests import CHECKOUT
from tests.support.builders import some_services
from web import problems
from web.app import create_app

ROOMS = ("web", "worker", "shared")
SOURCES = [
    path
    for room in ROOMS
    for path in sorted((CHECKOUT / room).rglob("*.py"))
    if not path.stem.endswith("_pb2")  # generated
]
README = CHECKOUT / "README.md"
CONFIGURATION = CHECKOUT / "docs/configuration.md"
PAGES = [README, *sorted((CHECKOUT / "docs").rglob("*.md"))]
# A file or folder of the project, as pages name it; `*` stands for several.
PATH = r"\b(?:web|worker|shared|tests|bench|faults|deploy)/[A-Za-z0-9_/*-]+(?:\.\w+)?"

# Whoever may call without a token, and why.
OPEN_ROUTES = {
    "/livez": "names nobody",
    "/readyz": "names nobody",
    "/metrics": "names nobody",
    "/openapi.json": "describes the calls, says nothing of anybody",
    "/docs": "the same for people",
    "/.well-known/openid-configuration": "leads to the issuer",
    "/.well-known/security.txt": "names the security contact",
    "/ui/password/reset": "the code is the credential",
    "/ui/password/reset/fresh": "answers everybody the same",
    "/r/<reset_id>/<code>": "the code is the credential",
    "/ui/password/forgot": "answers everybody the same",
    "/ui/password/forgot/<org_id>": "answers everybody the same",
    "/ui/password/altcha.js": "the same script for everybody",
    "/keyturn/v1/forgot": "answers everybody the same",
    "/ui/password/reveal.js": "the same script for everybody",
    "/callbacks/sendgrid": "signed by SendGrid",
    "/callbacks/twilio": "signed by Twilio",
    "/callbacks/http": "signed by the gateway",
    "/callbacks/sendgrid/<org_id>": "signed by SendGrid with the organisation's key",
    "/callbacks/twilio/<org_id>": "signed by Twilio with the organisation's token",
    "/callbacks/http/<org_id>": "signed by the organisation's gateway",
    "/console/sign-in": "takes a token",
    "/console/sign-in/once/<secret>": "the secret is the credential",
    "/console/sign-in/oidc": "leads to the issuer",
    "/console/sign-in/oidc/return": "the issuer's code, for the browser that began",
    "/console/static/<name>": "the same files for everybody",
    "/": "this machine only, loopback links only, outbox only",
    "/dev/inbox": "this machine only, loopback links only, outbox only",
    "/dev/inbox.json": "this machine only, loopback links only, outbox only",
}
TOKEN_ROUTES = {
    "/management/v1/users/<user_id>/password/_reset",
    "/users/<user_id>/password/_reset",
    "/v2/users/<user_id>/password_reset",
    "/v2/users/<user_id>/password",
    "/keyturn/v1/resets/<reset_id>",
    "/keyturn/v1/resets/<reset_id>/explanation",
    "/keyturn/v1/resets",
    "/keyturn/v1/resets/<reset_id>/_hold",
    "/keyturn/v1/resets/<reset_id>/_release",
    "/keyturn/v1/resets/<reset_id>/_void",
    "/keyturn/v1/resets/<reset_id>/_resend",
    "/keyturn/v1/pauses",
    "/keyturn/v1/pauses/_resume",
    "/keyturn/v1/limits/_clear",
    "/keyturn/v1/audit",
    "/keyturn/v1/status",
    "/keyturn/v1/sms/prefixes",
    "/keyturn/v1/webhooks",
    "/keyturn/v1/webhooks/<subscription_id>",
    "/keyturn/v1/webhooks/<subscription_id>/dead",
    "/keyturn/v1/webhooks/<subscription_id>/_enable",
    "/keyturn/v1/webhooks/<subscription_id>/_replay",
    "/keyturn/v1/organisations/<org_id>",
    "/keyturn/v1/organisations/<org_id>/branding",
    "/keyturn/v1/organisations/<org_id>/sender",
    "/keyturn/v1/organisations/<org_id>/preview",
    "/keyturn/v1/organisations/<org_id>/_send_test",
    "/keyturn/v1/organisations/<org_id>/branding/logo",
    "/keyturn/v1/organisations/<org_id>/texts",
    "/keyturn/v1/organisations/<org_id>/texts/<language>",
    "/keyturn/v1/organisations/<org_id>/texts/history",
    "/keyturn/v1/organisations/<org_id>/texts/_rollback",
    "/keyturn/v1/batches",
    "/keyturn/v1/batches/<batch_id>",
    "/keyturn/v1/batches/<batch_id>/_pause",
    "/keyturn/v1/batches/<batch_id>/_resume",
    "/keyturn/v1/batches/<batch_id>/_cancel",
    "/keyturn/v1/batches/<batch_id>/results",
    "/keyturn/v1/users/<user_id>/_forget",
    "/keyturn/v1/users/<user_id>/export",
    "/keyturn/v1/_forget",
    "/keyturn/v1/organisations/<org_id>/_remove",
}
# The console's, by the cookie of a session: tests/security/test_console.py tells who may.
CONSOLE_ROUTES = {
    "/console",
    "/console/",
    "/console/<path:_rest>",
    "/console/sign-out",
    "/console/providers",
    "/console/batches",
    "/console/batches/upload",
    "/console/batches/filter",
    "/console/batches/<batch_id>",
    "/console/batches/<batch_id>/<action>",
    "/console/batches/<batch_id>/results.csv",
    "/console/suppressions",
    "/console/suppressions/<verb>",
    "/console/suppressions/<verb>/<digest>",
    "/console/webhooks",
    "/console/webhooks/<subscription_id>",
    "/console/webhooks/<subscription_id>/<verb>",
    "/console/audit",
    "/console/audit/export",
    "/console/preview",
    "/console/preview/<org_id>/<part>",
    "/console/pauses/<scope>/<path:name>/pause",
    "/console/pauses/<scope>/<path:name>/resume",
    "/console/providers/<name>/test",
    "/console/resets",
    "/console/resets/_find",
    "/console/resets/<reset_id>",
    "/console/resets/<reset_id>/<verb>",
    "/console/users/<path:user_id>/limits",
    "/console/users/<path:user_id>/lift/<channel>",
    "/console/users/<path:user_id>/addresses",
}


@pytest.fixture
def app(fake_client) -> Flask:
    return create_app(some_services(fake_client))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def functions_of(path: Path):
    yield from functions_in(tree_of(path))


def functions_in(tree: ast.AST):
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def lines_of(node: ast.AST) -> int:
    return node.end_lineno - node.lineno + 1


def leaves_of(kind: type) -> set[type]:
    below = kind.__subclasses__()
    return {kind} if not below else set().union(*(leaves_of(each) for each in below))


def test_no_function_is_longer_than_60_lines():
    long = [
        f"{path.name}:{node.name}"
        for path in SOURCES
        for node in functions_of(path)
        if lines_of(node) > 60
    ]

    assert long == []


def test_no_folder_holds_more_than_15_modules():
    modules = Counter(str(path.parent.relative_to(CHECKOUT)) for path in SOURCES)

    assert {folder: count for folder, count in modules.items() if count > 15} == {}


def test_no_two_public_classes_share_a_name():
    places = defaultdict(list)
    for path in SOURCES:
        for node in tree_of(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(str(path.relative_to(CHECKOUT)))

    assert {name: files for name, files in places.items() if len(files) > 1} == {}


def test_no_docstring_begins_with_a_riddle():
    riddles = re.compile(r"(?i)(nothing|give nothing|nobody|somebody|whoever|whom)\b")
    found = [
        f"{path.relative_to(CHECKOUT)}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module)
        and riddles.match(ast.get_docstring(node) or "")
    ]

    assert found == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_every_path_that_a_page_names_exists(page):
    named = set(re.findall(PATH, page.read_text()))

    missing = [path for path in named if not list(CHECKOUT.glob(path.rstrip("/.")))]

    assert missing == []


def test_the_readme_is_read_in_one_go():
    lines = README.read_text().splitlines()
    tables = groupby(lines, lambda line: line.startswith("|"))
    rows = [len(list(table)) for is_table, table in tables if is_table]

    assert len(lines) <= 150
    assert [line for line in lines if len(line) > 120] == []
    assert max(rows) <= 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_every_link_of_a_page_leads_to_a_file(page):
    text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)|^\[\w+\]: (\S+)$", text, re.MULTILINE)
    links = {inline or defined for inline, defined in targets}

    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_every_name_in_a_file_that_a_page_names_exists(page):
    named = re.findall(rf"`?({PATH})`? \(`(\w+)`\)", page.read_text())

    missing = [
        f"{path} ({name})"
        for path, name in named
        if not re.search(rf"\b{name}\b", (CHECKOUT / path).read_text())
    ]

    assert missing == []


def keys_in_the_code() -> set[tuple[str, str, str]]:
    """Name, shape and type of every key of shared/store/keys.py; a type begins its description."""
    types = "HASH|ZSET|LIST|STRING|SET|STREAM"
    function = rf'^def (\w+)\(.*\) -> str:\n    """({types}), (?:.*\n)+?    return f"(.+)"$'
    constant = rf'^(\w+) = f?"(.+)"  # ({types}), '
    code = (CHECKOUT / "shared" / "store" / "keys.py").read_text()
    found = [
        (name, shape, type_) for name, type_, shape in re.findall(function, code, re.MULTILINE)
    ]
    shard_names = ("tag", "tag_of", "tag_of_digest")
    prefixes = dict.fromkeys(shard_names, "{kt:NN}") | {"GATE": "{kt:gate}"}

    def filled(match: re.Match[str]) -> str:
        return prefixes.get(match[1], f"<{match[1].replace('_', ' ')}>")

    return {
        (
            name,
            re.sub(r"\{(\w+)(?:\(\w+\))?\}", filled, shape).replace("{{", "{").replace("}}", "}"),
            type_,
        )
        for name, shape, type_ in (*found, *re.findall(constant, code, re.MULTILINE))
    }


def test_every_key_of_redis_stands_in_the_table_and_no_other():
    row = r"^\| `(\w+)` \| `([^`]*kt:[^`]*)` \| (\w+) \| .+ \| .+ \|$"
    table = set(re.findall(row, (CHECKOUT / "docs" / "architecture.md").read_text(), re.MULTILINE))
    made = {
        name
        for name, value in vars(keys).items()
        if callable(value) or str(value).startswith(("kt:", "{kt:"))
    }

    assert table == keys_in_the_code()
    assert {name for name, _, _ in table} == made - {
        "cache",
        "make_reset_id",
        "find_shard",
        "tag_of",
        "tag_of_digest",
        "GATE",
    }


def test_no_module_has_a_name_that_says_nothing():
    nothing = {"utils", "util", "helpers", "common", "manager", "misc", "base"}

    assert [path for path in SOURCES if path.stem in nothing] == []


def test_tasks_are_registered_under_the_names_of_the_queue():
    from celery import Celery

    from worker.tasks import TaskDependencies, register_tasks

    app = Celery(set_as_current=False)
    register_tasks(app, TaskDependencies())

    own = {name for name in app.tasks if not name.startswith("celery.")}
    assert own == {task.value for task in Task}


def test_every_queue_has_a_worker_in_the_procfile_and_no_other_has():
    procfile = (CHECKOUT / "Procfile").read_text()

    served = {q for match in re.findall(r"--queues (\S+)", procfile) for q in match.split(",")}

    assert served == {queue.value for queue in Queue}


def test_every_error_a_caller_may_see_has_a_row():
    missing = {error.__name__ for error in leaves_of(errors.CallerError)} - {
        error.__name__ for error in problems.CODES
    }

    assert missing == set()


def test_every_grpc_code_in_use_has_an_http_status():
    assert set(problems.CODES.values()) <= set(problems.HTTP_STATUS)


def test_every_route_is_authenticated_or_listed_as_open(app: Flask):
    routes = {rule.rule for rule in app.url_map.iter_rules()}

    assert routes == set(OPEN_ROUTES) | TOKEN_ROUTES | CONSOLE_ROUTES


def test_every_callback_reader_has_a_route(app: Flask):
    routes = {rule.rule for rule in app.url_map.iter_rules()}

    assert {f"/callbacks/{name}" for name in READERS} <= routes


@pytest.mark.parametrize("route", sorted(TOKEN_ROUTES | CONSOLE_ROUTES))
def test_a_route_with_a_token_refuses_without(app: Flask, route):
    path = re.sub(r"<[\w:]+>", "x", route)
    rules = [rule for rule in app.url_map.iter_rules() if rule.rule == route]
    methods = {method for rule in rules for method in rule.methods or ()} - {"HEAD", "OPTIONS"}

    answers = {app.test_client().open(path, method=method).status_code for method in methods}

    assert answers == {401}


def variables_of(table: type, prefix: str) -> set[str]:
    """The environment variables of a table of settings."""
    return {prefix + f.name.rstrip("_").upper() for f in fields(table) if f.metadata}


def test_every_setting_stands_in_the_configuration_page():
    table = CONFIGURATION.read_text()

    variables = variables_of(Settings, PREFIX) | variables_of(TwilioAccount, f"{PREFIX}TWILIO_")
    variables |= variables_of(Gateway, f"{PREFIX}HTTP_")

    assert [each for each in sorted(variables) if f"`{each}`" not in table] == []


def test_the_pages_name_no_setting_that_does_not_exist():
    known = variables_of(Settings, PREFIX).union(
        *(
            variables_of(table, f"{PREFIX}{name.upper().replace('-', '_')}_")
            for table, names in ACCOUNTS
            for name in names
        )
    )
    named = set(
        re.findall(r"`(KEYTURN_[A-Z0-9_]+)`", README.read_text() + CONFIGURATION.read_text())
    )

    assert named - known - {"KEYTURN_TEST_REDIS_URL", "KEYTURN_CONTRACTS_DIR"} == set()


def test_every_setting_reaches_every_container():
    lines = (CHECKOUT / "deploy" / "settings.env").read_text().splitlines()
    passed_on = [line for line in lines if line and not line.startswith("#")]
    fixed = {f"{PREFIX}{name}" for name in ("HOST", "PORT", "GRPC_PORT", "FLOWER_PORT", "DATA_DIR")}
    tables = [(Settings, PREFIX)]
    tables += [
        (table, f"{PREFIX}{name.upper().replace('-', '_')}_")
        for table, names in ACCOUNTS
        for name in names
    ]
    variables = set().union(*(variables_of(*each) for each in tables)) - fixed
    secrets = {
        prefix + f.name.rstrip("_").upper()
        for table, prefix in tables
        for f in fields(table)
        if f.metadata and not f.repr
    }
    files = {f"{name}_FILE" for name in secrets} - {
        f"{PREFIX}REDIS_URL_FILE"
    }  # compose has its own

    assert sorted(passed_on) == sorted(variables | files)


def attributes_read(tree: ast.AST, *owners: str) -> set[str]:
    """The attributes read of anything called by one of these names."""
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and name_of(node.value) in owners
    }


def name_of(node: ast.AST) -> str:
    """`settings` of `settings`, `self.settings`, `self._settings` and `services.settings`."""
    return getattr(node, "id", getattr(node, "attr", "")).lstrip("_")


@pytest.mark.parametrize(
    ("table", "owners"),
    [
        (Settings, ("settings",)),
        (TwilioAccount, ("account", "each", "a")),
        (Gateway, ("gateway",)),
    ],
)
def test_every_setting_is_read_somewhere(table, owners):
    places = [path for path in SOURCES if path.parent.name != "settings"]
    places.append(CHECKOUT / "deploy" / "flowerconfig.py")
    read = set().union(*(attributes_read(tree_of(p), *owners) for p in places))
    own = ast.parse(textwrap.dedent(inspect.getsource(table))).body[0]
    for method in functions_in(own):
        if method.name in read:
            read |= attributes_read(method, "self")

    assert [f.name for f in fields(table) if f.name not in read] == []


def test_every_log_event_in_the_code_is_declared():
    used = set()
    for path in SOURCES:
        used |= set(re.findall(r'log\.\w+\(\s*"([a-z_]+\.[a-z_]+)"', path.read_text()))
        used |= set(re.findall(r'"((?:attempt|codes?)\.[a-z_]+)"', path.read_text()))

    assert used <= set(log.EVENTS)


def test_every_declared_log_event_is_used():
    code = "".join(path.read_text() for path in SOURCES if path.name != "log.py")

    assert [event for event in log.EVENTS if f'"{event}"' not in code] == []


def test_every_log_event_stands_in_the_operating_manual():
    manual = (CHECKOUT / "docs" / "operating.md").read_text()

    assert [event for event in log.EVENTS if f"`{event}`" not in manual] == []


def test_no_file_names_a_package_registry():
    hosts = re.compile(
        r"pypi\.org|pythonhosted\.org|registry\.npmjs|deb\.debian\.org", re.IGNORECASE
    )
    places = ("*", "docs/**/*", "deploy/*", ".ci/*")
    texts = [path for place in places for path in CHECKOUT.glob(place)]

    named = [p.name for p in texts if p.is_file() and hosts.search(p.read_text(errors="ignore"))]

    assert named == []


def test_every_dependency_says_why_it_is_there():
    text = (CHECKOUT / "pyproject.toml").read_text()
    wanted = tomllib.loads(text)["project"]["dependencies"]

    bare = [d for d in wanted if not re.search(re.escape(f'"{d}",') + r"\s+# \S", text)]

    assert bare == []


def test_no_two_test_files_have_one_name():
    names = [path.name for path in (CHECKOUT / "tests").rglob("test_*.py")]

    assert sorted(names) == sorted(set(names))

"""The codebase's own habits, so that nobody has to remember them."""

from __future__ import annotations

import ast
import re
import statistics
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
from flask import Flask

from shared import errors, log
from shared.models import Queue
from shared.queue import Task
from shared.settings import PREFIX, Settings
from tests.builders import some_services
from web import problems
from web.app import create_app

ROOT = Path(__file__).parent.parent
ROOMS = ("web", "worker", "shared")
SOURCES = [
    path
    for room in ROOMS
    for path in sorted((ROOT / room).rglob("*.py"))
    if not path.stem.endswith("_pb2")  # generated
]
README = ROOT / "README.md"

# Whoever may call without a token, and why.
OPEN_ROUTES = {
    "/livez": "names nobody",
    "/readyz": "names nobody",
    "/metrics": "names nobody",
    "/openapi.json": "describes the calls, says nothing of anybody",
    "/docs": "the same for people",
    "/ui/password/reset": "the code is the credential",
    "/ui/password/reset/fresh": "answers everybody the same",
    "/r/<reset_id>/<code>": "the code is the credential",
    "/callbacks/sendgrid": "signed by SendGrid",
    "/callbacks/twilio": "signed by Twilio",
    "/dev/inbox": "this machine only, outbox only",
    "/dev/inbox.json": "this machine only, outbox only",
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
    "/keyturn/v1/resets/<reset_id>/_resend",
    "/keyturn/v1/pauses",
    "/keyturn/v1/pauses/_resume",
    "/keyturn/v1/limits/_clear",
    "/keyturn/v1/audit",
    "/keyturn/v1/status",
    "/keyturn/v1/webhooks",
    "/keyturn/v1/webhooks/<subscription_id>",
    "/keyturn/v1/webhooks/<subscription_id>/dead",
    "/keyturn/v1/webhooks/<subscription_id>/_enable",
    "/keyturn/v1/webhooks/<subscription_id>/_replay",
    "/keyturn/v1/batches",
    "/keyturn/v1/batches/<batch_id>",
    "/keyturn/v1/batches/<batch_id>/_pause",
    "/keyturn/v1/batches/<batch_id>/_resume",
    "/keyturn/v1/batches/<batch_id>/_cancel",
    "/keyturn/v1/batches/<batch_id>/results",
}


@pytest.fixture
def app(fake_client) -> Flask:
    return create_app(some_services(fake_client))


def functions_of(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
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


def test_the_median_function_has_fewer_than_10_lines():
    sizes = [lines_of(node) for path in SOURCES for node in functions_of(path)]

    assert statistics.median(sizes) < 10


def test_nine_functions_in_ten_have_at_most_30_lines():
    sizes = sorted(lines_of(node) for path in SOURCES for node in functions_of(path))

    assert sizes[int(len(sizes) * 0.9)] <= 30


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
    procfile = (ROOT / "Procfile").read_text()

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

    assert routes == set(OPEN_ROUTES) | TOKEN_ROUTES


@pytest.mark.parametrize("route", sorted(TOKEN_ROUTES))
def test_a_route_with_a_token_refuses_without(app: Flask, route):
    path = re.sub(r"<\w+>", "x", route)
    rules = [rule for rule in app.url_map.iter_rules() if rule.rule == route]
    methods = {method for rule in rules for method in rule.methods or ()} & {"GET", "POST"}

    answers = {app.test_client().open(path, method=method).status_code for method in methods}

    assert answers == {401}


def test_every_setting_stands_in_the_readme():
    table = README.read_text()

    missing = [f.name for f in fields(Settings) if f"`{PREFIX}{f.name.upper()}`" not in table]

    assert missing == []


def test_the_readme_names_no_setting_that_does_not_exist():
    known = {f"{PREFIX}{f.name.upper()}" for f in fields(Settings)}
    named = set(re.findall(r"`(KEYTURN_[A-Z0-9_]+)`", README.read_text()))

    assert named - known - {"KEYTURN_TEST_REDIS_URL", "KEYTURN_CONTRACTS_DIR"} == set()


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
    manual = (ROOT / "docs" / "operating.md").read_text()

    assert [event for event in log.EVENTS if f"`{event}`" not in manual] == []


def test_no_file_names_a_package_registry():
    hosts = re.compile(
        r"pypi\.org|pythonhosted\.org|registry\.npmjs|deb\.debian\.org", re.IGNORECASE
    )
    places = ("*", "docs/**/*", "deploy/*", ".ci/*")
    texts = [path for place in places for path in ROOT.glob(place)]

    named = [p.name for p in texts if p.is_file() and hosts.search(p.read_text(errors="ignore"))]

    assert named == []


def test_every_dependency_says_why_it_is_there():
    text = (ROOT / "pyproject.toml").read_text()
    wanted = tomllib.loads(text)["project"]["dependencies"]

    bare = [d for d in wanted if not re.search(re.escape(f'"{d}",') + r"\s+# \S", text)]

    assert bare == []


def test_no_two_test_files_have_one_name():
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]

    assert sorted(names) == sorted(set(names))

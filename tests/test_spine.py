"""One reset, traced: the files it enters from the wire to the provider.

`pytest tests/test_spine.py -s` prints them. A file decides something if a function of it that ran
holds an `if` or a `match`.
"""

from __future__ import annotations

import ast
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest
from celery import Celery

from shared.messages.rendering import MessageRenderer
from shared.models import Channel
from shared.providers.sendgrid import SendGrid
from tests import CHECKOUT
from tests.support.provider_stub import ProviderStub
from tests.support.wire import Wire
from worker.delivery import Delivery
from worker.tasks import TaskDependencies, register_tasks

ROOMS = ("web", "worker", "shared")
MAX_ENTERED = 36
MAX_DECIDING = 21
BRANCHES = (ast.If, ast.Match)


class Trace:
    """The functions of Keyturn that ran, by file."""

    def __init__(self) -> None:
        self.functions: dict[str, set[tuple[str, int]]] = {}

    @property
    def files(self) -> set[str]:
        return set(self.functions)

    @property
    def deciding(self) -> set[str]:
        return {file for file in self.files if any(self._branches(file))}

    def note(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and (file := _own_file(frame.f_code)):
            at = (frame.f_code.co_name, frame.f_code.co_firstlineno)
            self.functions.setdefault(file, set()).add(at)

    def _branches(self, file: str) -> Iterator[bool]:
        for name, line in self.functions[file]:
            yield (name, line) in _branching(file)


@cache
def _own_file(code: CodeType) -> str | None:
    path = Path(code.co_filename)
    if path.suffix != ".py" or not path.is_relative_to(CHECKOUT) or path.stem.endswith("_pb2"):
        return None
    file = path.relative_to(CHECKOUT)
    return str(file) if file.parts[0] in ROOMS else None


@cache
def _branching(file: str) -> set[tuple[str, int]]:
    """Functions of a file with a branch, by name and first line (that of a decorator)."""
    found = set()
    for node in ast.walk(ast.parse((CHECKOUT / file).read_text())):
        if isinstance(node, ast.FunctionDef) and any(
            isinstance(inner, BRANCHES) for inner in ast.walk(node)
        ):
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            found.add((node.name, first))
    return found


@contextmanager
def traced(trace: Trace) -> Iterator[None]:
    before = sys.getprofile()
    threading.setprofile(trace.note)
    sys.setprofile(trace.note)
    try:
        yield
    finally:
        sys.setprofile(before)
        threading.setprofile(None)


@pytest.fixture
def sendgrid() -> Iterator[ProviderStub]:
    with ProviderStub() as stub:
        yield stub


def reset_through(
    fake_client: Any, stub: ProviderStub
) -> tuple[Callable[[], str], Callable[[str], str]]:
    """The call and the delivery of a reset, each as a function; both are warm."""
    wire = Wire(
        fake_client,
        email_providers=("sendgrid",),
        sendgrid_api_key="SG.key",
        sendgrid_api_url=stub.url,
    )
    providers = {Channel.EMAIL: [SendGrid(wire.services.settings)], Channel.SMS: []}
    renderer = MessageRenderer(wire.services.settings, wire.services.languages)
    delivery = Delivery(wire.services, providers, renderer)
    tasks = TaskDependencies()
    tasks.delivery = delivery
    app = Celery(set_as_current=False)
    register_tasks(app, tasks)

    def call() -> str:
        response = wire.reset()
        assert response.status_code == 200
        return response.headers["Keyturn-Reset-Id"]

    def deliver(reset_id: str) -> str:
        hint = wire.hints.published[-1]
        return app.tasks[hint.task.value].run(reset_id)

    return call, deliver


def trace_one(fake_client: Any, stub: ProviderStub) -> Trace:
    call, deliver = reset_through(fake_client, stub)
    deliver(call())  # what a process reads once a moment was read
    trace = Trace()
    with traced(trace):
        outcome = deliver(call())
    assert outcome == "accepted"
    assert len(stub.taken) == 2
    return trace


def test_one_reset_enters_few_files(fake_client, sendgrid):
    trace = trace_one(fake_client, sendgrid)

    print(f"{len(trace.files)} files entered by one reset, * branches:")  # noqa: T201
    for file in sorted(trace.files):
        print(f"  {'*' if file in trace.deciding else ' '} {file}")  # noqa: T201

    assert len(trace.files) <= MAX_ENTERED
    assert len(trace.deciding) <= MAX_DECIDING

"""What we ship to watch Keyturn by: alerts and a dashboard that ask for what is told."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import click
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families as families_of

from shared.models import Outcome, Queue, Status
from shared.store.admin.circuits import CallTally
from shared.store.webhooks.subscriptions import EVENTS
from tests import CHECKOUT
from tests.support.builders import an_organisation, some_services
from tests.support.store_builders import stores_of
from web.app import create_app
from web.cli import keyturn

DEPLOY = CHECKOUT / "deploy"
RULES = yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"][0]["rules"]
STORIES = yaml.safe_load((DEPLOY / "alerts_test.yml").read_text())["tests"]
DASHBOARD = json.loads((DEPLOY / "grafana.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [rule["expr"] for rule in RULES] + [
    target["expr"] for panel in PANELS for target in panel["targets"]
]
NOT_OURS = {"up"}

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="Debian's prometheus is not installed"
)


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["promtool", *arguments]
    return subprocess.run(command, cwd=DEPLOY, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def told(real_redis_url):
    """/metrics of an installation in which everything has happened once."""
    from shared.store.connection import connect

    with connect(real_redis_url) as client:
        client.flushdb()
        services = some_services(client)
        an_organisation(services)
        services.subscriptions.add("acme", "https://a.example/", EVENTS)
        stores = stores_of(client)
        stores.attempt(stores.record())
        stores.retry(stores.record("bob"))
        stores.doubt(stores.record("eve"))
        services.receipts.count("sendgrid", {"received": 1})
        services.circuits.record("outbox", CallTally(bad=1, switch=("smtp", "circuit")))
        client.hincrby("{kt:is}:m", "sw:outbox:smtp:circuit", 1)
        client.hset("{kt:is}:m", "last:sendgrid", 1_764_000_000_000)
        client.hincrby("{kt:is}:m", "d:email:sendgrid:b1000", 1)
        client.hincrby("{kt:is}:m", "w:told", 1)
        services.counters.add("lp:unknown")
        services.counters.add("text:de:acme")
        client.hset("{kt:gate}:smstotals", "met:velocity:stop", 1)
        client.hset("{kt:gate}:smstotals", "tripped:velocity:stop", 1)
        services.dues.heartbeat(f"{','.join(Queue)} of the test")
        return create_app(services).test_client().get("/metrics").text


@pytest.fixture(scope="module")
def samples(told):
    """Name of a sample → the labels it has."""
    found: dict[str, set[str]] = {}
    for family in families_of(told):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def selectors_of(expression: str) -> list[tuple[str, set[str]]]:
    """The metrics an expression asks for, with the labels it asks them by."""
    pattern = r"\b(keyturn_\w+|up)\b(?:\{([^}]*)\})?"
    return [
        (name, set(re.findall(r"(\w+)\s*[=!]~?", labels)))
        for name, labels in re.findall(pattern, expression)
    ]


def test_everything_that_is_asked_for_is_told(samples):
    asked = [each for expression in EXPRESSIONS for each in selectors_of(expression)]

    missing = {name for name, _ in asked if name not in samples} - NOT_OURS

    assert len(asked) > 30
    assert missing == set()


def test_every_label_that_is_asked_for_is_told(samples):
    asked = [each for expression in EXPRESSIONS for each in selectors_of(expression)]

    wrong = [
        (name, labels - samples[name] - {"le"})
        for name, labels in asked
        if name in samples and labels - samples[name] - {"le"}
    ]

    assert wrong == []


def test_every_metric_stands_on_the_dashboard_and_in_the_manual(told):
    families = [family.name for family in families_of(told)]
    manual = (CHECKOUT / "docs" / "operating.md").read_text()
    dashboard = json.dumps(DASHBOARD)

    assert [name for name in families if name not in dashboard] == []
    assert [name for name in families if f"`{name}" not in manual] == []


def test_a_time_from_the_call_to_a_provider_is_told_by_channel_and_queue(told):
    family = next(each for each in families_of(told) if each.name == "keyturn_accepted_seconds")

    [count] = [sample for sample in family.samples if sample.name.endswith("_count")]
    assert (count.value, count.labels) == (1, {"channel": "email", "queue": "urgent"})


def test_the_server_tells_how_it_is(samples, told):
    values = {s.name: s.value for f in families_of(told) for s in f.samples if not s.labels}

    assert 0 < values["keyturn_store_memory_ratio"] < 1
    assert values["keyturn_store_append_only"] == 0  # the tests' server keeps none
    assert values["keyturn_store_written"] == 1
    assert values["keyturn_store_replicas"] == 0
    assert values["keyturn_broker_up"] == 1


@pytest.mark.one_server  # the fake one does not let us
def test_a_server_that_does_not_let_us_ask_is_no_failure(fake_client):
    text = create_app(some_services(fake_client)).test_client().get("/metrics").text

    names = [sample.name for family in families_of(text) for sample in family.samples]
    assert "keyturn_store_memory_ratio" not in names
    assert "keyturn_due_depth" in names


def test_a_reset_nobody_gets_through_is_counted(client):
    stores = stores_of(client)
    reset_id = stores.record()
    for _ in range(6):
        stores.make_due(reset_id)
        stores.resets.claim(reset_id)

    assert stores.status(reset_id) is Status.FAILED
    assert stores.counters.totals()["poison"] == 1


def test_a_yes_is_timed_once(client):
    stores = stores_of(client)
    reset_id = stores.record()
    stores.retry(reset_id)
    stores.attempt(reset_id, Outcome.FOUND, Status.ACCEPTED)

    timed = {n: v for n, v in stores.counters.totals().items() if n.startswith("s:")}

    assert sum(v for n, v in timed.items() if ":b" in n) == 1
    assert {n.rpartition(":")[0] for n in timed} == {"s:email:urgent"}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_says_what_to_type_first(rule):
    command = rule["annotations"]["first_command"]
    manual = (CHECKOUT / "docs" / "operating.md").read_text()

    assert command
    assert f"`{rule['alert']}`" in manual
    if command.startswith("keyturn "):
        found: click.Command = keyturn
        for word in command.split()[1:]:
            assert isinstance(found, click.Group)
            found = found.get_command(click.Context(found), word)


def test_every_alert_has_a_story_in_which_it_fires_and_one_in_which_it_is_quiet():
    tests = [test for story in STORIES for test in story["alert_rule_test"]]
    fires = {test["alertname"] for test in tests if test["exp_alerts"]}
    quiet = {test["alertname"] for test in tests if not test["exp_alerts"]}

    assert fires == quiet == {rule["alert"] for rule in RULES}


@needs_promtool
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "--lint=all", "--lint-fatal", "alerts.yml"),
        ("test", "rules", "alerts_test.yml"),
    ],
    ids=["config", "rules", "stories"],
)
def test_promtool_finds_nothing(arguments):
    done = promtool(*arguments)

    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_promtool_finds_nothing_in_what_we_tell(told):
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=told, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_panel_has_an_id_a_place_and_a_question():
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    places = [tuple(panel["gridPos"][key] for key in "xy") for panel in DASHBOARD["panels"]]

    assert len(set(ids)) == len(ids)
    assert len(set(places)) == len(places)
    assert all(panel["title"] and panel["description"] and panel["targets"] for panel in PANELS)

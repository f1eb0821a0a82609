"""The Helm chart: its values against the settings, and what it renders against Kubernetes' schemas.

The schemas in tests/deploy/schemas are those of Kubernetes 1.37, Gateway API 1.4, KEDA 2.20 and
Prometheus Operator 0.85, without descriptions; unknown fields are refused.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import requests
import yaml
from jsonschema import Draft7Validator

from tests import CHECKOUT
from tests.deploy import lists
from tests.journeys.stack import free_ports
from tests.support.builders import some_services
from tests.support.waiting import HANG_SECONDS, wait_until
from web.app import create_app
from web.rpc.calls import SERVICES

CHART = CHECKOUT / "deploy" / "helm" / "keyturn"
SCHEMAS = CHECKOUT / "tests" / "deploy" / "schemas"
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
# What only operators and developers reach, from inside.
INTERNAL = {"", "livez", "readyz", "metrics", "openapi.json", "docs", "dev", "console", "static"}
SETTINGS = {
    "KEYTURN_PUBLIC_URL": "https://reset.acme.test",
    "KEYTURN_REDIS_URL": "redis://redis:6379/0",
    "KEYTURN_WEBHOOK_LIFETIME_SECONDS": "1209600",
}
EVERYTHING = {
    "settings": SETTINGS,
    "secret": {"name": "kt", "settings": ["KEYTURN_SECRET_KEYS", "KEYTURN_SENDGRID_API_KEY"]},
    "ingress": {"enabled": True, "host": "a.test", "tlsSecret": "t", "grpc": {"host": "g.test"}},
    "gateway": {"enabled": True, "parentRefs": [{"name": "front"}], "hostnames": ["a.test"]},
    "keda": {"enabled": True},
    "monitoring": {name: {"enabled": True} for name in ("serviceMonitor", "alerts", "dashboard")},
}


def tool(name: str) -> str:
    """Return a program's path, where Go's client puts it too; skip the test without it."""
    beside = Path(os.environ.get("GOBIN", "~/go/bin")).expanduser() / name
    if found := shutil.which(name) or shutil.which(beside):
        return found
    pytest.skip(f"{name} is not installed: see .ci/run for how Go's client builds it")


def helm(*arguments: str, values: object) -> subprocess.CompletedProcess[str]:
    """Run Helm on the chart with these values."""
    return subprocess.run(
        [tool("helm"), *arguments, "--values", "-", "--kube-version", "1.33"],
        input=yaml.safe_dump(values),
        capture_output=True,
        text=True,
        check=False,
    )


def render(values: object, release: str = "keyturn") -> list[dict]:
    done = helm("template", release, str(CHART), "--namespace", "login", values=values)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


@pytest.fixture(scope="module")
def rendered():
    return render(EVERYTHING)


def of_kind(rendered: list[dict], kind: str) -> dict[str, dict]:
    return {each["metadata"]["name"]: each for each in rendered if each["kind"] == kind}


def containers_of(rendered: list[dict]) -> dict[str, dict]:
    """Component → the only container of its Deployment."""
    pods = [each["spec"]["template"]["spec"] for each in of_kind(rendered, "Deployment").values()]
    return {each["containers"][0]["name"]: each["containers"][0] for each in pods}


# ---- without Helm


def test_values_take_every_setting_and_no_other():
    names = SCHEMA["properties"]["settings"]["propertyNames"]["enum"]
    in_files = SCHEMA["properties"]["secret"]["properties"]["settings"]["items"]["enum"]
    known = dict(lists.variables())

    assert lists.SCHEMA.read_text() == lists.values_schema(), "python -m tests.deploy.lists"
    assert sorted(in_files) == sorted(known)
    assert {name for name in names if known[name]} == lists.MAY_HOLD_A_PASSWORD


def test_the_default_values_fit_their_schema_and_every_value_is_described():
    assert list(Draft7Validator(SCHEMA).iter_errors(VALUES)) == []
    assert set(VALUES) == SCHEMA["properties"].keys() - {"global"}


def test_what_is_public_is_every_route_that_is_not_for_operators(fake_client):
    rules = [rule.rule for rule in create_app(some_services(fake_client)).url_map.iter_rules()]
    public = tuple(VALUES["publicPaths"])

    unknown = [
        rule
        for rule in rules
        if rule.split("/")[1] not in INTERNAL
        and not any(rule == path or rule.startswith(f"{path}/") for path in public)
    ]
    assert unknown == []
    assert [path for path in public if not any(rule.startswith(path) for rule in rules)] == []
    assert {path.split("/")[1] for path in public}.isdisjoint(INTERNAL)
    assert sorted(VALUES["rpcPaths"]) == sorted(f"/{service}" for service in SERVICES)


def test_alerts_and_dashboard_are_those_of_deploy():
    for name in ("alerts.yml", "grafana.json"):
        assert (CHART / "files" / name).resolve() == CHECKOUT / "deploy" / name


def test_the_chart_has_the_version_of_the_package():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    [version] = re.findall(
        r'^version = "(.+)"$', (CHECKOUT / "pyproject.toml").read_text(), re.MULTILINE
    )

    assert chart["appVersion"] == version


# ---- with Helm


def test_helm_finds_nothing_wrong():
    done = helm("lint", "--strict", str(CHART), values=EVERYTHING)

    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_rendered_fits_the_schemas(rendered):
    for each in rendered:
        group, _, version = each["apiVersion"].rpartition("/")
        suffix = "-".join(filter(None, (group.partition(".")[0], version)))
        schema = json.loads((SCHEMAS / f"{each['kind'].lower()}-{suffix}.json").read_text())

        assert list(Draft7Validator(schema).iter_errors(each)) == []
    assert len({each["kind"] for each in rendered}) == 10


def test_kubeconform_finds_nothing_wrong(rendered):
    location = str(SCHEMAS / "{{.ResourceKind}}{{.KindSuffix}}.json")
    done = subprocess.run(
        [tool("kubeconform"), "-strict", "-summary", "-schema-location", location],
        input=yaml.safe_dump_all(rendered),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    assert f"Valid: {len(rendered)}," in done.stdout


def test_every_process_of_the_procfile_is_a_deployment(rendered):
    lines = (CHECKOUT / "Procfile").read_text().splitlines()
    wanted = {line.partition(": ")[0]: line.partition(": ")[2] for line in lines}
    commands = {name: each["command"] for name, each in containers_of(rendered).items()}

    assert {
        name: " ".join(command).removesuffix(" --alive-file /tmp/alive")
        for name, command in commands.items()
    } == wanted


def test_every_process_gets_every_setting_and_secrets_as_files_alone(rendered):
    settings = of_kind(rendered, "ConfigMap")["keyturn"]["data"]
    files = {
        f"{name}_FILE": f"/run/secrets/keyturn/{name}" for name in EVERYTHING["secret"]["settings"]
    }

    assert settings == SETTINGS
    for container in containers_of(rendered).values():
        assert container["envFrom"] == [{"configMapRef": {"name": "keyturn"}}]
        assert {each["name"]: each["value"] for each in container["env"]} == files
    for each in of_kind(rendered, "Deployment").values():
        [volume] = [v for v in each["spec"]["template"]["spec"]["volumes"] if "secret" in v]
        assert volume["secret"]["secretName"] == "kt"
        assert [item["key"] for item in volume["secret"]["items"]] == (
            EVERYTHING["secret"]["settings"]
        )


def test_pods_may_do_little_and_have_time_to_end(rendered):
    for each in of_kind(rendered, "Deployment").values():
        pod = each["spec"]["template"]["spec"]
        container = pod["containers"][0]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert pod["terminationGracePeriodSeconds"] >= 50
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
        assert container["livenessProbe"]
        mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert {"/tmp", "/data"} <= mounts


def test_readiness_is_of_web_alone_and_liveness_of_workers_asks_no_broker(rendered):
    containers = containers_of(rendered)

    assert containers["web"]["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert containers["web"]["livenessProbe"]["httpGet"]["path"] == "/livez"
    for name in ("worker", "bulk"):
        probe = containers[name]["livenessProbe"]["exec"]["command"]
        assert "celery" not in " ".join(probe)
        assert containers[name]["command"][-1] in probe[-1]


def test_budgets_spare_pods_of_every_process_that_serves(rendered):
    budgets = of_kind(rendered, "PodDisruptionBudget")

    assert set(budgets) == {f"keyturn-{name}" for name in ("web", "grpc", "worker", "bulk")}
    for each in budgets.values():
        component = each["metadata"]["labels"]["app.kubernetes.io/component"]
        assert each["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"] == component


def test_workers_scale_by_what_is_due_and_one_stays(rendered):
    deployments = of_kind(rendered, "Deployment")
    for name, queue in (("worker", "urgent"), ("bulk", "bulk")):
        spec = of_kind(rendered, "ScaledObject")[f"keyturn-{name}"]["spec"]
        queries = [each["metadata"]["query"] for each in spec["triggers"]]

        assert spec["scaleTargetRef"]["name"] == f"keyturn-{name}"
        assert spec["minReplicaCount"] >= 1
        assert ["keyturn_due_now{" in queries[0], "keyturn_due_oldest_seconds{" in queries[1]] == (
            [True, True]
        )
        assert all(f'queue="{queue}",namespace="login"' in each for each in queries)
        assert "replicas" not in deployments[f"keyturn-{name}"]["spec"]
    assert deployments["keyturn-web"]["spec"]["replicas"] == 2


def test_without_keda_workers_have_their_replicas():
    deployments = of_kind(render({"settings": SETTINGS}), "Deployment")

    assert deployments["keyturn-worker"]["spec"]["replicas"] == 2
    assert deployments["keyturn-bulk"]["spec"]["replicas"] == 1


def test_all_pods_are_one_target_of_prometheus(rendered):
    [monitor] = of_kind(rendered, "ServiceMonitor").values()
    [endpoint] = monitor["spec"]["endpoints"]
    steps = endpoint["relabelings"]
    replaced = {each["targetLabel"]: each["replacement"] for each in steps if "targetLabel" in each}

    assert replaced == {
        "__address__": "keyturn-web.login.svc:8080",
        "instance": "keyturn",
        "job": "keyturn",
    }
    [dropped] = [each["regex"] for each in steps if each.get("action") == "labeldrop"]
    assert set(dropped.split("|")) == {"pod", "node", "container", "endpoint"}


def test_prometheus_makes_one_target_of_them(rendered, tmp_path):
    [monitor] = of_kind(rendered, "ServiceMonitor").values()
    steps = [
        {re.sub("[A-Z]", lambda f: f"_{f[0].lower()}", name): value for name, value in step.items()}
        for step in monitor["spec"]["endpoints"][0]["relabelings"]
    ]
    # What the operator writes before them.
    steps.insert(0, {"source_labels": ["__address__"], "target_label": "pod"})
    steps.append({"target_label": "__address__", "replacement": "127.0.0.1:1"})  # no name is asked
    pods = [f"127.0.0.{number}:1" for number in (2, 3, 4)]
    job = {"job_name": "x", "static_configs": [{"targets": pods}], "relabel_configs": steps}
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump({"scrape_configs": [job]}))
    [port] = free_ports(1)
    options = (f"--web.listen-address=127.0.0.1:{port}", f"--storage.tsdb.path={tmp_path}/data")
    server = subprocess.Popen(
        [tool("prometheus"), f"--config.file={tmp_path}/prometheus.yml", *options],
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: targets_at(port), what="targets")
        [target] = targets_at(port)
    finally:
        server.kill()
        server.wait(HANG_SECONDS)

    assert target["labels"] == {"instance": "keyturn", "job": "keyturn"}


def targets_at(port: int) -> list[dict]:
    with contextlib.suppress(requests.ConnectionError):
        answer = requests.get(f"http://127.0.0.1:{port}/api/v1/targets", timeout=HANG_SECONDS)
        if answer.ok:
            return answer.json()["data"]["activeTargets"]
    return []


def test_alerts_and_dashboard_arrive_whole(rendered):
    [rule] = of_kind(rendered, "PrometheusRule").values()
    dashboard = of_kind(rendered, "ConfigMap")["keyturn-dashboard"]["data"]["keyturn.json"]

    assert rule["spec"] == yaml.safe_load((CHECKOUT / "deploy" / "alerts.yml").read_text())
    assert json.loads(dashboard) == json.loads((CHECKOUT / "deploy" / "grafana.json").read_text())


def test_what_is_not_public_is_routed_nowhere(rendered):
    ingresses, [route] = of_kind(rendered, "Ingress"), of_kind(rendered, "HTTPRoute").values()
    paths = [
        path["path"]
        for each in ingresses.values()
        for path in each["spec"]["rules"][0]["http"]["paths"]
    ]
    paths += [
        match["path"]["value"] for rule in route["spec"]["rules"] for match in rule["matches"]
    ]

    assert set(paths) == {*VALUES["publicPaths"], *VALUES["rpcPaths"]}
    grpc = ingresses["keyturn-grpc"]["spec"]["rules"][0]
    assert {path["path"] for path in grpc["http"]["paths"]} == set(VALUES["rpcPaths"])


def test_native_grpc_is_told_by_its_content_type(rendered):
    [route] = of_kind(rendered, "HTTPRoute").values()
    first, *others = route["spec"]["rules"]

    assert first["backendRefs"] == [{"name": "keyturn-grpc", "port": 8081}]
    assert {match["headers"][0]["value"] for match in first["matches"]} == {
        *("application/grpc", "application/grpc+proto")
    }
    assert {each["backendRefs"][0]["name"] for each in others} == {"keyturn-web"}


def test_two_releases_fit_into_one_namespace(rendered):
    other = render(EVERYTHING, release="second")

    assert {(e["kind"], e["metadata"]["name"]) for e in rendered}.isdisjoint(
        (e["kind"], e["metadata"]["name"]) for e in other
    )


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "KEYTURN_PUBLIC_URL is missing"),
        ({"settings": {"KEYTURN_PUBLIC_URL": "https://a.test"}}, "KEYTURN_REDIS_URL is missing"),
        ({"settings": SETTINGS, "secret": {"settings": []}}, "KEYTURN_SECRET_KEYS is missing"),
        ({"settings": SETTINGS | {"KEYTURN_SECRET_KEYS": "x"}}, "KEYTURN_SECRET_KEYS"),
        ({"settings": SETTINGS | {"KEYTURN_LOG_LEVLE": "info"}}, "KEYTURN_LOG_LEVLE"),
        ({"settings": SETTINGS | {"KEYTURN_PORT": "9000"}}, "KEYTURN_PORT"),
        ({"settings": SETTINGS | {"KEYTURN_DEV_INBOX": False}}, "string"),
        ({"settings": SETTINGS | {"KEYTURN_ORG_LIMIT_PER_MINUTE": 2000000}}, "string"),
        (
            {
                "settings": SETTINGS,
                "secret": {"settings": ["KEYTURN_SECRET_KEYS", "KEYTURN_REDIS_URL"]},
            },
            "keep one",
        ),
        ({"settings": SETTINGS, "replicas": 3}, "replicas"),
        ({"settings": SETTINGS, "web": {"replicas": 0}}, "replicas"),
        ({"settings": SETTINGS, "terminationGracePeriodSeconds": 5}, "terminationGracePeriod"),
        ({"settings": SETTINGS, "ingress": {"enabled": True}}, "ingress.host is missing"),
        ({"settings": SETTINGS, "gateway": {"enabled": True}}, "gateway.parentRefs is missing"),
        ({"settings": SETTINGS, "keda": {"enabled": True, "worker": {"min": 0}}}, "min"),
    ],
)
def test_wrong_values_are_refused_with_what_is_wrong(values, words):
    done = helm("template", "keyturn", str(CHART), values=values)

    assert done.returncode != 0
    assert words in done.stderr

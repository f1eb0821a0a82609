"""docker-compose.yml, as Compose would read it; no Docker is needed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import yaml

from shared.models import Queue
from tests import CHECKOUT
from tests.deploy import lists

COMPOSE = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
OURS = {name: each for name, each in SERVICES.items() if each["image"] == "keyturn"}


def test_one_service_builds_the_image_and_the_others_wait_for_it():
    assert [name for name, each in SERVICES.items() if "build" in each] == ["keys"]
    for name in OURS.keys() - {"keys"}:
        assert OURS[name]["depends_on"]["keys"] == {"condition": "service_completed_successfully"}


def test_every_process_of_the_procfile_is_a_service():
    procfile = (CHECKOUT / "Procfile").read_text().splitlines()

    assert set(OURS) - {"keys"} == {line.partition(":")[0] for line in procfile}


def test_the_list_of_settings_is_that_of_the_settings():
    assert lists.LIST.read_text() == lists.settings_env(), "python -m tests.deploy.lists"


@pytest.mark.parametrize("name", OURS)
def test_every_container_gets_the_settings_and_can_write_only_what_it_needs(name):
    service = OURS[name]

    assert service["env_file"] == ["deploy/settings.env"]
    assert set(service["environment"]) - {"TMPDIR"} == {
        *("KEYTURN_REDIS_URL", "KEYTURN_PUBLIC_URL", "KEYTURN_TRUSTED_PROXIES")
    }
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["volumes"] == ["data:/data", "./secrets:/run/secrets:ro"]


def test_workers_serve_all_queues_and_are_asked_without_the_broker():
    workers = [each for each in OURS.values() if "worker" in each["command"]]

    served = [each["command"][each["command"].index("--queues") + 1] for each in workers]
    assert sorted(",".join(served).split(",")) == sorted(queue.value for queue in Queue)
    for each in workers:
        path = each["command"][each["command"].index("--alive-file") + 1]
        probe = each["healthcheck"]["test"][1]
        assert path in probe
        assert "celery" not in probe


def test_what_is_mounted_is_there_and_what_is_kept_has_a_volume():
    sources = [v.partition(":")[0] for each in SERVICES.values() for v in each.get("volumes", ())]
    folders = {each for each in sources if each.startswith("./")}

    assert [each for each in folders - {"./secrets"} if not (CHECKOUT / each).exists()] == []
    assert set(sources) - folders == COMPOSE["volumes"].keys()


def test_grafana_finds_prometheus_and_the_dashboard():
    folder = CHECKOUT / "deploy" / "grafana"
    [source] = yaml.safe_load((folder / "datasources/prometheus.yml").read_text())["datasources"]
    [provider] = yaml.safe_load((folder / "dashboards/keyturn.yml").read_text())["providers"]
    dashboard = json.loads((CHECKOUT / "deploy" / "grafana.json").read_text())

    assert SERVICES["grafana"]["profiles"] == SERVICES["prometheus"]["profiles"] == ["watch"]
    assert source["url"] == "http://prometheus:9090"
    assert (
        f"./deploy/grafana.json:{provider['options']['path']}/keyturn.json:ro"
        in (SERVICES["grafana"]["volumes"])
    )
    assert dashboard["templating"]["list"][0]["query"] == source["type"]


def test_the_key_is_written_once(tmp_path):
    command = [sys.executable, *SERVICES["keys"]["command"][1:]]
    found = []
    for _ in range(2):
        subprocess.run(command, cwd=CHECKOUT, env={"KEYTURN_DATA_DIR": str(tmp_path)}, check=True)
        found.append((tmp_path / "secret_keys").read_text())

    assert found[0] == found[1]
    assert len(found[0].strip()) >= 32
    assert (tmp_path / "secret_keys").stat().st_mode & 0o777 == 0o600


def test_a_key_that_was_given_is_not_written_down(tmp_path):
    command = [sys.executable, *SERVICES["keys"]["command"][1:]]
    given = {"KEYTURN_DATA_DIR": str(tmp_path), "KEYTURN_SECRET_KEYS": "k" * 40}
    subprocess.run(command, cwd=CHECKOUT, env=given, check=True)

    assert list(tmp_path.iterdir()) == []

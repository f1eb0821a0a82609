"""`./run`: when it installs, when it does not, and that it repairs what is broken."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib

import pytest
from packaging.requirements import Requirement

from tests import CHECKOUT
from tests.support.waiting import HANG_SECONDS

RUN = CHECKOUT / "run"


@pytest.fixture
def script(tmp_path):
    """The script in a checkout of its own, where `pip` writes down what it was asked for."""
    shutil.copy(RUN, tmp_path / "run")
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "requirements").mkdir()
    for name in ("run", "all"):
        (tmp_path / "requirements" / f"{name}.txt").write_text("")
    loader = importlib.machinery.SourceFileLoader("run_script", str(tmp_path / "run"))
    spec = importlib.util.spec_from_loader("run_script", loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    module.asked = []

    def pip(*arguments):
        module.asked.append(arguments[-1].removeprefix(f"{tmp_path}/"))
        assert ("--require-hashes" in arguments) != ("--no-deps" in arguments)
        module.KEYTURN.touch()

    def make_venv():
        module.asked.append("venv")
        module.PYTHON.parent.mkdir(parents=True, exist_ok=True)
        module.PYTHON.unlink(missing_ok=True)
        module.PYTHON.symlink_to(sys.executable)

    module.pip, module.make_venv = pip, make_venv
    return module


RUN_ONLY, ALL = "requirements/run.txt", "requirements/all.txt"


def test_the_first_start_makes_an_environment_and_installs(script):
    script.install(RUN_ONLY)

    assert script.asked == ["venv", RUN_ONLY, str(script.ROOT)]


def test_the_second_start_installs_nothing(script):
    script.install(RUN_ONLY)
    script.asked.clear()

    script.install(RUN_ONLY)

    assert script.asked == []


def test_what_a_command_needs_is_added_to_what_is_there(script):
    script.install(RUN_ONLY)
    script.install(ALL)
    assert script.asked == ["venv", RUN_ONLY, str(script.ROOT), ALL, str(script.ROOT)]
    script.asked.clear()

    script.install(RUN_ONLY)
    script.install(ALL)

    assert script.asked == []


@pytest.mark.parametrize("name", ["pyproject.toml", RUN_ONLY, ALL])
def test_changed_requirements_are_installed(name, script):
    script.install(ALL)
    script.asked.clear()

    (script.ROOT / name).write_text("# changed\n")
    script.install(RUN_ONLY)

    assert script.asked == [ALL, str(script.ROOT)]


def test_an_interrupted_installation_is_done_again(script):
    script.install(RUN_ONLY)
    script.asked.clear()
    script.STAMP.unlink()

    script.install(RUN_ONLY)

    assert script.asked == [RUN_ONLY, str(script.ROOT)]


@pytest.mark.parametrize("lost", ["PYTHON", "KEYTURN"])
def test_a_broken_environment_is_made_again(lost, script):
    script.install(ALL)
    script.asked.clear()

    getattr(script, lost).unlink()
    script.install(RUN_ONLY)

    assert script.asked == ["venv", RUN_ONLY, str(script.ROOT)]


def test_one_at_a_time_changes_the_environment(script, capsys):
    entered = threading.Event()

    def second():
        with script.locked():
            entered.set()

    with script.locked():
        other = threading.Thread(target=second)
        other.start()
        assert not entered.wait(0.2)
    other.join(HANG_SECONDS)

    assert entered.is_set()
    assert "Another ./run is installing" in capsys.readouterr().out


def test_an_older_python_is_told_in_a_sentence(tmp_path):
    code = RUN.read_text().replace("sys.version_info < (3, 11)", "sys.version_info < (9, 9)")
    (tmp_path / "run").write_text(code)

    ended = subprocess.run(
        [sys.executable, str(tmp_path / "run")], capture_output=True, text=True, check=False
    )

    assert ended.returncode == 1
    assert ended.stderr.startswith("Keyturn needs Python 3.11 or newer")
    assert len(ended.stderr.splitlines()) == 1


def test_it_is_executable():
    assert os.access(RUN, os.X_OK)


def test_the_quick_tests_are_a_file_of_each_folder_of_tests(script):
    folders = {
        str(path.parent.relative_to(CHECKOUT))
        for path in (CHECKOUT / "tests").rglob("test_*.py")
        if path.parent.name not in ("journeys", "bench", "faults")
    }

    assert {path.rpartition("/")[0] for path in script.QUICK} == folders
    assert [path for path in script.QUICK if not (CHECKOUT / path).exists()] == []


def pins(name):
    """Package → version, digests; of a requirements file."""
    found = {}
    for entry in (CHECKOUT / name).read_text().replace("\\\n", " ").splitlines():
        package, _, rest = entry.partition("==")
        found[package] = (rest.split()[0], re.findall(r"--hash=sha256:[0-9a-f]{64}", rest))
    return found


@pytest.mark.parametrize("name", [RUN_ONLY, ALL])
def test_every_pin_has_a_digest(name):
    assert pins(name)
    assert [package for package, (_, digests) in pins(name).items() if not digests] == []


def test_the_requirements_fit_the_project():
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    everything = [*project["dependencies"], *(each for extra in extras.values() for each in extra)]
    run_only, all_pins = pins(RUN_ONLY), pins(ALL)

    for text in everything:
        wanted = Requirement(text)
        version, _ = all_pins[wanted.name.lower().replace("_", "-")]
        assert version in wanted.specifier, f"{text}: ./run lock"
    for text in (*project["dependencies"], *extras["build"], *extras["sql"]):
        assert Requirement(text).name.lower().replace("_", "-") in run_only, f"{text}: ./run lock"
    assert run_only.items() <= all_pins.items()


def test_the_packages_of_an_installation_can_be_listed():
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", RUN_ONLY]
    pytest.importorskip("cyclonedx_py")

    listed = subprocess.run(command, cwd=CHECKOUT, capture_output=True, check=True, timeout=120)

    components = json.loads(listed.stdout)["components"]
    assert {(each["name"], each["version"]) for each in components} == {
        (package, version) for package, (version, _) in pins(RUN_ONLY).items()
    }

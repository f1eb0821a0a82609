"""The lines `up` says once, against a small web server."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from click.testing import CliRunner

from shared.settings import load_settings
from web.cli import keyturn
from web.up.demo import ReadyMessage


@pytest.fixture
def answers():
    """Path → status of the small server; `worker` is what /readyz says of workers."""
    return {"/readyz": 200, "/docs": 404, "worker": "ok"}


@pytest.fixture
def port(answers):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(answers.get(self.path, 404))
            self.end_headers()
            self.wfile.write(b'{"checks":{"worker":"%s"}}' % answers["worker"].encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture
def a_ready(tmp_path, port):
    (tmp_path / "demo_token").write_text("kt_pat_x\n")

    def make(**environ):
        ports = {"KEYTURN_PORT": str(port), "KEYTURN_GRPC_PORT": str(port)}
        fields = {**ports, "KEYTURN_DATA_DIR": str(tmp_path), **environ}
        return ReadyMessage(load_settings(fields))

    return make


def test_the_curl_line_carries_the_token(a_ready, port, capsys):
    a_ready().print_once()

    said = capsys.readouterr().out
    assert f"curl -X POST http://127.0.0.1:{port}/management/v1/users/ada/password/_reset" in said
    assert "Bearer kt_pat_x" in said


def test_nothing_is_said_before_it_is_ready(a_ready, answers, capsys):
    answers["/readyz"] = 503

    a_ready().print_once()

    assert capsys.readouterr().out == ""


def test_nothing_is_said_before_a_worker_is_there(a_ready, answers, capsys):
    answers["worker"] = "none of the urgent queue was seen in the last 5 s"

    a_ready().print_once()

    assert capsys.readouterr().out == ""


def test_it_is_said_once(a_ready, capsys):
    ready = a_ready()
    ready.print_once()
    capsys.readouterr()
    time.sleep(0.25)

    ready.print_once()

    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("status", "is_named"), [(200, True), (404, False)])
def test_the_api_page_is_named_where_there_is_one(status, is_named, a_ready, answers, capsys):
    answers["/docs"] = status

    a_ready().print_once()

    assert ("/docs" in capsys.readouterr().out) is is_named


@pytest.mark.parametrize(("status", "is_open"), [(200, True), (404, False)])
def test_an_inbox_that_is_shut_is_said_to_be(status, is_open, a_ready, answers, port, capsys):
    answers["/dev/inbox.json"] = status

    a_ready().print_once()

    said = capsys.readouterr().out
    assert (f"http://127.0.0.1:{port}/dev/inbox" in said) is is_open
    assert ("KEYTURN_DEV_INBOX=on" in said) is not is_open


@pytest.mark.parametrize("login", ["", "eve:a long password"])
def test_flowers_login_is_told_without_its_password(login, a_ready, tmp_path, capsys):
    environ = {"KEYTURN_FLOWER_BASIC_AUTH": login}

    a_ready(**environ).print_once()

    said = capsys.readouterr().out
    assert ("KEYTURN_FLOWER_BASIC_AUTH" if login else str(tmp_path / "flower_login")) in said
    assert "a long password" not in said


def test_the_inbox_is_named_where_the_outbox_is_in_use(a_ready, capsys):
    a_ready(KEYTURN_EMAIL_PROVIDERS="", KEYTURN_SMS_PROVIDERS="").print_once()

    assert "/dev/inbox" not in capsys.readouterr().out


def test_who_listens_everywhere_is_called_here(a_ready, port, capsys):
    a_ready(KEYTURN_HOST="0.0.0.0").print_once()

    assert f"http://127.0.0.1:{port}/" in capsys.readouterr().out


def test_a_port_nobody_listens_on_is_not_ready(tmp_path, capsys):
    environ = {"KEYTURN_PORT": "1", "KEYTURN_DATA_DIR": str(tmp_path)}

    ReadyMessage(load_settings(environ)).print_once()

    assert capsys.readouterr().out == ""


def test_the_demo_is_printed_again_with_every_address_and_key(tmp_path, monkeypatch):
    (tmp_path / "demo_token").write_text("kt_pat_x\n")
    (tmp_path / "flower_login").write_text("operator:secret-of-flower\n")
    monkeypatch.setenv("KEYTURN_DATA_DIR", str(tmp_path))

    printed = CliRunner().invoke(keyturn, ["demo"]).output

    for part in ("/dev/inbox", "/docs", "127.0.0.1:8081", ":5555/", "export KEYTURN_TOKEN=kt_pat_x",
                 "operator:secret-of-flower", "ada@example.com", "+41791234567"):  # fmt: skip
        assert part in printed


def test_without_a_demo_it_says_how_to_make_one(tmp_path, monkeypatch):
    monkeypatch.setenv("KEYTURN_DATA_DIR", str(tmp_path))

    done = CliRunner().invoke(keyturn, ["demo"])

    assert done.exit_code == 1
    assert "keyturn up" in done.output

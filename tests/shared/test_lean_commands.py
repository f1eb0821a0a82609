"""Commands that pass by the library's bookkeeping say and give the same as the library's own."""

from __future__ import annotations

import pytest
import redis
from redis.connection import HiredisRespSerializer

from shared.store.connection import Packer, connect, run_all


@pytest.mark.parametrize(
    "command",
    [
        ("GET", "a"), ("SET", "ä🙂", b"\x00\xff"), ("ZADD", "k", 1, 1.5), ("PING",),
        ("SET", "a b", ""),        ("SCRIPT LOAD", "return 1"), ("CONFIG SET", "a", -1),
    ],
    ids=lambda command: command[0],
)  # fmt: skip
def test_a_command_is_spelled_as_the_library_does(command):
    assert Packer().pack(*command) == HiredisRespSerializer().pack(*command)


def test_what_is_no_argument_is_an_error_of_the_library():
    with pytest.raises(redis.DataError):
        Packer().pack("SET", "a", None)


def test_many_commands_give_what_each_gives(client):
    answers = run_all(client, [("SET", "a", "1"), ("INCR", "a"), ("GET", "a"), ("GET", "none")])

    assert answers[1:] == [2, "2", None]
    assert answers[0] in (True, "OK")


def test_one_that_fails_is_an_error_and_spoils_nothing(client):
    client.set("a", "text")

    with pytest.raises(redis.ResponseError):
        run_all(client, [("GET", "a"), ("INCR", "a"), ("GET", "a")])

    assert client.get("a") == "text"
    assert run_all(client, [("GET", "a")]) == ["text"]


def test_nothing_asked_is_nothing_told(client):
    assert run_all(client, []) == []


@pytest.mark.real_server
def test_a_server_that_is_away_is_an_error_and_one_that_is_back_answers(own_server, tmp_path):
    server = own_server()
    with connect(f"unix://{tmp_path / 'own.sock'}", timeout_seconds=0.3) as client:
        assert run_all(client, [("PING",)]) == ["PONG"]
        server.kill()
        server.wait(10)
        with pytest.raises(redis.RedisError):
            run_all(client, [("PING",)])
        own_server()

        assert run_all(client, [("PING",), ("PING",)]) == ["PONG", "PONG"]

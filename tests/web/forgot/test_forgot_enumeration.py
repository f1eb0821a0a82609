"""2,000 known and 2,000 unknown identifiers cost the same work, counted, not timed."""

import json
from bisect import bisect_right
from collections import Counter
from io import BytesIO
from math import sqrt

import pytest
import structlog
from werkzeug.test import create_environ

from shared.directories.redis import RedisDirectory
from shared.store.connection import connect
from tests.support.pages import Visit

pytestmark = pytest.mark.real_server  # for its speed: 4,000 requests

CALL = "/keyturn/v1/forgot"
NUMBER = 2000
DOMAINS = {"known": "here.example", "unknown": "away.example"}
ENVIRON = create_environ(CALL, method="POST", content_type="application/json")
# Of the two-sample statistic at p = 0.01: c(0.01) = sqrt(-ln(0.005) / 2), n = m.
CRITICAL = 1.628 * sqrt(2 / NUMBER)


def distance(one, other):
    """The Kolmogorov-Smirnov statistic of two samples."""
    one, other = sorted(one), sorted(other)
    return max(
        abs(bisect_right(one, at) / len(one) - bisect_right(other, at) / len(other))
        for at in {*one, *other}
    )


@pytest.fixture(scope="module")
def work(real_redis_url):
    """What each of the requests cost, by kind of work, for known and unknown identifiers."""
    spent, directory = Counter(), Counter()
    with connect(real_redis_url) as client, structlog.testing.capture_logs() as lines:
        client.flushdb()
        visit = Visit(client, page_limit_per_hour=0)
        users = [
            {
                "userId": f"u{n}",
                "orgId": "acme",
                "email": f"a{n:04}@{DOMAINS['known']}",
                "emailVerified": True,
            }
            for n in range(NUMBER)
        ]
        visit.services.directory.import_users(map(json.dumps, users))
        for name in [name for name in vars(RedisDirectory) if not name.startswith("_")]:
            count_calls(visit.services.directory, name, directory)
        count_calls(client, "execute_command", spent)
        count_calls(client, "pipeline", spent)
        ask(visit, "warm@other.example")
        counts = {"known": [], "unknown": []}
        for n in range(NUMBER):
            for kind, found in counts.items():
                marks = spent["calls"], spent["size"], len(lines), len(visit.hints.published)
                answer = ask(visit, f"a{n:04}@{DOMAINS[kind]}")
                now = spent["calls"], spent["size"], len(lines), len(visit.hints.published)
                differences = [after - before for after, before in zip(now, marks, strict=True)]
                found.append((*differences, *answer))
    return counts, directory


def ask(visit, identifier):
    """Post one call past Flask's test client, which costs more than the call."""
    body = json.dumps({"identifier": identifier}).encode()
    told = []
    environ = ENVIRON | {"wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))}
    answer = b"".join(visit.app.wsgi_app(environ, lambda *head: told.extend(head)))
    return told[0], len(str(told[1])), answer


def count_calls(of, name, into):
    """Count calls of a method, and the size of their arguments."""
    method = getattr(of, name)

    def counting(*args, **options):
        into["calls"] += 1
        into["size"] += sum(len(str(each)) for each in args)
        return method(*args, **options)

    if callable(method):
        setattr(of, name, counting)


@pytest.mark.parametrize(
    "part", range(7), ids=["commands", "bytes", "logs", "hints", "status", "head", "body"]
)
def test_known_and_unknown_are_not_told_apart(work, part):
    known, unknown = ([each[part] for each in work[0][kind]] for kind in ("known", "unknown"))

    assert len(known) == len(unknown) == NUMBER
    assert distance(known, unknown) < CRITICAL


def test_a_request_asks_the_directory_nothing(work):
    assert work[1] == {}


def test_the_statistic_tells_apart_what_differs():
    assert distance([1] * 95 + [2] * 5, [1] * 50 + [2] * 50) == pytest.approx(0.45)
    assert distance(range(100), range(100)) == 0

"""The trail: every act by hand or by permission stands there, with who, from where and its end.

Commands and routes are read from the program itself: a new one that is neither tried here nor
listed with a reason fails.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from threading import Thread

import click
import pytest
import structlog
from click.testing import CliRunner
from structlog.testing import capture_logs

from shared.models import Channel, Recipient
from shared.store import keys
from shared.store.admin.audit import Act
from shared.store.batches import BatchCursor
from tests.support.builders import PUBLIC_URL, SECRET, a_token, a_user
from tests.support.message_builders import a_reset
from tests.support.pages import PATH, Visit
from tests.support.rpc import PASSWORD_RESET, SET_PASSWORD, V1
from tests.support.sender_builders import save_sender
from tests.support.waiting import wait_until
from tests.support.wire import Wire
from tests.test_architecture import CONSOLE_ROUTES
from web.cli import keyturn
from web.explain.timeline import name_caller
from web.rpc.calls import CALLS

HOOK = "https://127.0.0.1:1/hook"  # nothing listens there
WHY = ("--reason", "a test", "--by", "eve")
BY = ("--by", "eve")
NEW_PASSWORD = {"newPassword": {"password": "a Sentence of 5 words!"}}
TYPED = "the typed code or the current password is the person's own; no permission is used"
READS = "reads; nothing is changed, and no code or address is shown"


class TrailWire(Wire):
    """An installation with a command line and an API over one store."""

    def __init__(self, client, url, directory):
        super().__init__(client, webhook_allow_private=True)
        self.owner = a_token(self.services, instance=("IAM_OWNER",))
        self.environ = {
            "KEYTURN_REDIS_URL": url,
            "KEYTURN_SECRET_KEYS": SECRET,
            "KEYTURN_DATA_DIR": str(directory),
            "KEYTURN_PUBLIC_URL": PUBLIC_URL,
            "KEYTURN_WEBHOOK_ALLOW_PRIVATE": "true",
            "KEYTURN_USER_COOLDOWN_SECONDS": "0",
            "KEYTURN_USER_LIMIT_PER_HOUR": "0",
            "KEYTURN_USER_LIMIT_PER_DAY": "0",
        }

    def run(self, *arguments, stdin=None):
        return CliRunner(catch_exceptions=False).invoke(
            keyturn, arguments, env=self.environ, input=stdin, prog_name="keyturn"
        )

    def printed(self, *arguments):
        done = self.run(*arguments, "--json")
        assert done.exit_code == 0, done.stderr
        return json.loads(done.stdout)

    def trail(self):
        """Every act as the command shows it, the oldest first."""
        return self.printed("audit", "--limit", "1000")[::-1]

    def ask(self, method, path, body=None, token=None, **headers):
        told = self.headers(token or self.owner, If_Match="*", **headers)
        data = {"data" if isinstance(body, bytes) else "json": body}
        return self.call(path, method=method, headers=told, **data)

    def a_reset(self):
        return self.reset().headers["Keyturn-Reset-Id"]

    def a_held_reset(self):
        return self.printed("reset", "hold", self.a_reset(), *WHY)["resetId"]

    def planned_soon(self):
        """What a plan is asked for with; a thread plans it as a worker would."""
        Thread(target=self._plan, daemon=True).start()
        return "--user", "ada"

    def _plan(self):
        wait_until(self.services.batches.active, what="a batch to plan")
        (batch,) = self.services.batches.active()
        fence = self.services.batches.take_lease(batch.batch_id)
        self.services.batches.advance(batch.batch_id, fence, BatchCursor(1, 0), {}, is_end=True)

    def a_hook(self):
        added = self.ask("POST", "/keyturn/v1/webhooks", {"url": HOOK}, self.token)
        return added.get_json()["subscriptionId"]

    def a_batch(self, *states):
        made = self.ask("POST", "/keyturn/v1/batches", {"userIds": ["ada"]})
        path = f"/keyturn/v1/batches/{made.get_json()['batchId']}"
        for state in states:
            assert self.ask("POST", f"{path}/{state}", {}).status_code == 200
        return path

    def a_text_version(self):
        fields = {"version": 0, "by": "eve", "reason": "a test"}
        return str(self.services.profiles.save_text("acme", "de", {"reset.code": "x"}, **fields))

    def an_own_from(self):
        save_sender(self.services, OWN_SENDER)
        return "acme"

    def a_suppression(self):
        recipient = Recipient(Channel.EMAIL, "ada@example.com")
        self.services.suppressions.add(recipient, reason="bounce", source="sendgrid")
        return "ada@example.com"


@pytest.fixture
def wire(real_client, real_redis_url, tmp_path):
    before = structlog.get_config()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        processors=[structlog.contextvars.merge_contextvars, structlog.processors.JSONRenderer()],
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
    yield TrailWire(real_client, real_redis_url, tmp_path)
    structlog.configure(**before)
    structlog.contextvars.clear_contextvars()


def some_texts(tmp_path):
    path = tmp_path / "texts.toml"
    path.write_text('[reset]\ncode = "Oder:"\n')
    return str(path)


def a_sender(tmp_path):
    path = tmp_path / "sender.json"
    path.write_text(json.dumps(OWN_SENDER))
    return str(path)


def a_line_of_import(tmp_path):
    path = tmp_path / "users.jsonl"
    path.write_text(json.dumps({"userId": "bob", "orgId": "acme", "email": "bob@example.com"}))
    return str(path)


OWN_SENDER = {"email": {"fromAddress": "help@acme.example"}}
# Each command that changes something: what makes it possible, and the action of its entry.
COMMANDS = {
    "org add": (lambda w, _: ("gamma", "--name", "Gamma", *WHY), "organisation.add"),
    "user import": (lambda w, tmp: (a_line_of_import(tmp), *WHY), "user.import"),
    "token add": (lambda w, _: ("--org", "acme", "--role", "ORG_OWNER", *WHY), "token.add"),
    "console": (lambda w, _: ("--org", "acme", *WHY), "token.add"),
    "token revoke": (
        lambda w, _: (w.services.callers.list_tokens()[0].token_id, *WHY),
        "token.revoke",
    ),
    "reset send": (lambda w, _: ("ada", *BY), "reset.send"),
    "org password": (
        lambda w, _: ("acme", "--min-characters", "12", *WHY),
        "organisation.password",
    ),
    "org branding set": (
        lambda w, _: ("acme", "--postal-line", "Weg 1", *WHY),
        "organisation.branding",
    ),
    "org sender set": (lambda w, tmp: ("acme", a_sender(tmp), *WHY), "organisation.sender"),
    "org sender remove": (lambda w, _: ("acme", *WHY), "organisation.remove_sender"),
    "org sender check": (
        lambda w, _: (w.an_own_from(), "--trust", *WHY),
        "organisation.trust_sender",
    ),
    "message send-test": (
        lambda w, _: ("--org", "acme", "--to", "eve@example.com", *WHY),
        "organisation.send_test",
    ),
    "org logo": (lambda w, _: ("acme", "--remove", *WHY), "organisation.logo"),
    "org texts set": (lambda w, tmp: ("acme", "de", some_texts(tmp), *WHY), "organisation.texts"),
    "org texts rollback": (
        lambda w, tmp: ("acme", w.a_text_version(), *WHY),
        "organisation.rollback",
    ),
    "org remove": (lambda w, _: ("beta", *WHY), "organisation.remove"),
    "org retention": (lambda w, _: ("acme", "--records", "86400", *WHY), "organisation.retention"),
    "user remove": (lambda w, _: ("ada", *WHY), "user.forget"),
    "user export": (lambda w, _: ("ada", *WHY), "user.export"),
    "forget": (lambda w, _: ("--address", "ada@example.com", *WHY), "address.forget"),
    "reset void": (lambda w, _: (w.a_reset(), *WHY), "reset.void"),
    "reset hold": (lambda w, _: (w.a_reset(), *WHY), "reset.hold"),
    "reset release": (lambda w, _: (w.a_held_reset(), *WHY), "reset.release"),
    "reset resend": (lambda w, _: (w.a_reset(), *WHY), "reset.resend"),
    "suppression add": (lambda w, _: ("mira@example.com", *WHY), "suppression.add"),
    "suppression lift": (lambda w, _: (w.a_suppression(), *WHY), "suppression.lift"),
    "webhook add": (lambda w, _: ("--org", "acme", "--url", HOOK, *BY), "webhook.add"),
    "webhook remove": (lambda w, _: (w.a_hook(), *BY), "webhook.remove"),
    "webhook enable": (lambda w, _: (w.a_hook(), *BY), "webhook.enable"),
    "webhook replay": (lambda w, _: (w.a_hook(), *BY), "webhook.replay"),
    "webhook test": (lambda w, _: (w.a_hook(), *BY), "webhook.test"),
    "provider pause": (lambda w, _: ("outbox", *WHY), "provider.pause"),
    "provider resume": (
        lambda w, _: (w.printed("provider", "pause", "outbox", *WHY)["provider"], *WHY),
        "provider.resume",
    ),
    "provider test": (lambda w, _: ("outbox", "--to", "eve@example.com", *BY), "provider.test"),
    "pause": (lambda w, _: ("channel", "sms", *WHY), "channel.pause"),
    "resume": (lambda w, _: ("channel", "sms", *WHY), "channel.resume"),
    "limit clear": (lambda w, _: ("--user", "ada", *WHY), "limit.clear"),
    "sms allow": (lambda w, _: ("+8801", *WHY), "sms.allow"),
    "sms block": (lambda w, _: ("+8801", "--for", "1d", *WHY), "sms.block"),
    "sms lift": (
        lambda w, _: (w.printed("sms", "block", "+8801", *WHY)["prefix"], *WHY),
        "sms.lift",
    ),
    "batch plan": (lambda w, _: (*w.planned_soon(), *WHY), "batch.plan"),
    "batch start": (lambda w, _: ("--user", "ada", *WHY), "batch.start"),
    "batch pause": (lambda w, _: (w.a_batch().rpartition("/")[2], *WHY), "batch.pause"),
    "batch resume": (lambda w, _: (w.a_batch("_pause").rpartition("/")[2], *WHY), "batch.resume"),
    "batch cancel": (lambda w, _: (w.a_batch().rpartition("/")[2], *WHY), "batch.cancel"),
}
UNAUDITED_COMMANDS = {
    "up": "its first start makes the demo: tests/web/up/test_demo.py",
    **dict.fromkeys(
        (
            "org list",
            "user list",
            "user show",
            "reset list",
            "provider recipients",
            "demo",
            "token list",
            "explain",
            "status",
            "suppression list",
        ),
        READS,
    ),
    **dict.fromkeys(
        ("org branding show", "org texts list", "org texts show", "org sender show"), READS
    ),
    **dict.fromkeys(("org texts history", "message preview"), READS),
    **dict.fromkeys(("webhook list", "webhook show", "webhook dead", "provider list"), READS),
    **dict.fromkeys(("batch watch", "batch list"), READS),
    **dict.fromkeys(("sms list", "forget verify", "doctor"), READS),
    "directory check": "writes in a transaction that it rolls back",
    **dict.fromkeys(("audit", "audit verify", "audit export", "batch report"), READS),
}


def commands_of(group: click.Group, before: str = "") -> Iterator[str]:
    """The path of every command that does something by itself."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        path = f"{before} {name}".strip()
        if isinstance(command, click.Group):
            if command.invoke_without_command:
                yield path
            yield from commands_of(command, path)
        else:
            yield path


def test_every_command_leaves_an_entry_or_has_a_reason_for_none():
    assert set(commands_of(keyturn)) == COMMANDS.keys() | UNAUDITED_COMMANDS.keys()
    assert not COMMANDS.keys() & UNAUDITED_COMMANDS.keys()


@pytest.mark.real_server
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_changes_something_stands_in_the_trail(wire, tmp_path, command):
    prepare, action = COMMANDS[command]
    arguments = prepare(wire, tmp_path)
    before = len(wire.trail())

    done = wire.run(*command.split(), *arguments)

    (entry,) = wire.trail()[before:]
    assert entry["action"] == action, done.output
    assert entry["by"] == "eve"
    assert "@" in entry["source"]
    assert entry["requestId"]
    assert entry["reason"] == ("a test" if WHY[0] in arguments else "")
    if command == "webhook test":
        assert entry["outcome"].startswith("failed: ")
    else:
        assert (done.exit_code, entry["outcome"]) == (0, "done")


# Each route that changes something, or gives out what opens an account.
SMS = {"scope": "channel", "name": "sms", "reason": "a test"}
REASON = {"reason": "a test"}
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="20" height="10"><path d="M0 0h9"/></svg>'
ORGANISATION = "/keyturn/v1/organisations/acme"
ROUTES = {
    "POST /v2/users/<user_id>/password": (
        lambda w: ("/v2/users/ada/password", NEW_PASSWORD),
        "password.set",
    ),
    "POST /v2/users/<user_id>/password_reset": (
        lambda w: ("/v2/users/ada/password_reset", {"returnCode": {}}),
        "reset.return_code",
    ),
    "POST /keyturn/v1/pauses": (lambda w: ("/keyturn/v1/pauses", SMS), "channel.pause"),
    "POST /keyturn/v1/pauses/_resume": (
        lambda w: ("/keyturn/v1/pauses/_resume", SMS),
        "channel.resume",
    ),
    "POST /keyturn/v1/sms/prefixes": (
        lambda w: ("/keyturn/v1/sms/prefixes", {"prefix": "+8801", "action": "block"} | REASON),
        "sms.block",
    ),
    "POST /keyturn/v1/limits/_clear": (
        lambda w: ("/keyturn/v1/limits/_clear", {"limit": "user", "id": "ada"} | REASON),
        "limit.clear",
    ),
    "POST /keyturn/v1/resets/<reset_id>/_void": (
        lambda w: (f"/keyturn/v1/resets/{w.a_reset()}/_void", REASON),
        "reset.void",
    ),
    "POST /keyturn/v1/resets/<reset_id>/_hold": (
        lambda w: (f"/keyturn/v1/resets/{w.a_reset()}/_hold", REASON),
        "reset.hold",
    ),
    "POST /keyturn/v1/resets/<reset_id>/_release": (
        lambda w: (
            f"/keyturn/v1/resets/{w.a_held_reset()}/_release",
            REASON,
        ),
        "reset.release",
    ),
    "POST /keyturn/v1/resets/<reset_id>/_resend": (
        lambda w: (f"/keyturn/v1/resets/{w.a_reset()}/_resend", REASON),
        "reset.resend",
    ),
    "PUT /keyturn/v1/organisations/<org_id>/branding": (
        lambda w: (f"{ORGANISATION}/branding", REASON),
        "organisation.branding",
    ),
    "PATCH /keyturn/v1/organisations/<org_id>/branding": (
        lambda w: (f"{ORGANISATION}/branding", REASON),
        "organisation.branding",
    ),
    "PUT /keyturn/v1/organisations/<org_id>/branding/logo": (
        lambda w: (f"{ORGANISATION}/branding/logo?reason=a+test", SVG),
        "organisation.logo",
    ),
    "DELETE /keyturn/v1/organisations/<org_id>/branding/logo": (
        lambda w: (f"{ORGANISATION}/branding/logo?reason=a+test", None),
        "organisation.logo",
    ),
    "PUT /keyturn/v1/organisations/<org_id>/sender": (
        lambda w: (f"{ORGANISATION}/sender", OWN_SENDER | REASON),
        "organisation.sender",
    ),
    "POST /keyturn/v1/organisations/<org_id>/_send_test": (
        lambda w: (f"{ORGANISATION}/_send_test", {"to": "eve@example.com"} | REASON),
        "organisation.send_test",
    ),
    "DELETE /keyturn/v1/organisations/<org_id>/sender": (
        lambda w: (f"{ORGANISATION}/sender?reason=a+test", None),
        "organisation.remove_sender",
    ),
    "PUT /keyturn/v1/organisations/<org_id>/texts/<language>": (
        lambda w: (f"{ORGANISATION}/texts/de", {"sentences": {"reset.code": "Oder:"}} | REASON),
        "organisation.texts",
    ),
    "DELETE /keyturn/v1/organisations/<org_id>/texts/<language>": (
        lambda w: (f"{ORGANISATION}/texts/de?reason=a+test", None),
        "organisation.texts",
    ),
    "POST /keyturn/v1/organisations/<org_id>/texts/_rollback": (
        lambda w: (
            f"{ORGANISATION}/texts/_rollback",
            {"version": int(w.a_text_version())} | REASON,
        ),
        "organisation.rollback",
    ),
    "POST /keyturn/v1/webhooks": (lambda w: ("/keyturn/v1/webhooks", {"url": HOOK}), "webhook.add"),
    "DELETE /keyturn/v1/webhooks/<subscription_id>": (
        lambda w: (f"/keyturn/v1/webhooks/{w.a_hook()}", None),
        "webhook.remove",
    ),
    "POST /keyturn/v1/webhooks/<subscription_id>/_replay": (
        lambda w: (f"/keyturn/v1/webhooks/{w.a_hook()}/_replay", None),
        "webhook.replay",
    ),
    "POST /keyturn/v1/webhooks/<subscription_id>/_enable": (
        lambda w: (f"/keyturn/v1/webhooks/{w.a_hook()}/_enable", None),
        "webhook.enable",
    ),
    "POST /keyturn/v1/users/<user_id>/_forget": (
        lambda w: ("/keyturn/v1/users/ada/_forget", REASON),
        "user.forget",
    ),
    "POST /keyturn/v1/_forget": (
        lambda w: ("/keyturn/v1/_forget", {"address": "+41791234567"} | REASON),
        "address.forget",
    ),
    "POST /keyturn/v1/organisations/<org_id>/_remove": (
        lambda w: ("/keyturn/v1/organisations/beta/_remove", REASON),
        "organisation.remove",
    ),
    "POST /keyturn/v1/batches": (
        lambda w: ("/keyturn/v1/batches", {"userIds": ["ada"]}),
        "batch.start",
    ),
    "POST /keyturn/v1/batches/<batch_id>/_pause": (
        lambda w: (f"{w.a_batch()}/_pause", {}),
        "batch.pause",
    ),
    "POST /keyturn/v1/batches/<batch_id>/_resume": (
        lambda w: (f"{w.a_batch('_pause')}/_resume", {}),
        "batch.resume",
    ),
    "POST /keyturn/v1/batches/<batch_id>/_cancel": (
        lambda w: (f"{w.a_batch()}/_cancel", {}),
        "batch.cancel",
    ),
    f"POST {SET_PASSWORD}": (
        lambda w: (SET_PASSWORD, NEW_PASSWORD | {"userId": "ada"}),
        "password.set",
    ),
    f"POST {PASSWORD_RESET}": (
        lambda w: (PASSWORD_RESET, {"userId": "ada", "returnCode": {}}),
        "reset.return_code",
    ),
}
SENT = "the message goes to the user's own address; the reset's record names the caller"
UNAUDITED_ROUTES = {
    "POST /console/sign-in": "begins a session; nothing is changed",
    "POST /management/v1/users/<user_id>/password/_reset": SENT,
    "POST /users/<user_id>/password/_reset": SENT,
    f"POST {V1}": SENT,
    "POST /callbacks/sendgrid": "signed by the provider; the reset's timeline holds it",
    "POST /callbacks/http": "signed by the provider; the reset's timeline holds it",
    **{
        f"POST /callbacks/{each}/<org_id>": "signed by the provider, as above"
        for each in ("sendgrid", "twilio", "http")
    },
    "POST /callbacks/twilio": "signed by the provider; the reset's timeline holds it",
    "POST /ui/password/reset": TYPED,
    "POST /ui/password/reset/fresh": SENT,
    "POST /ui/password/forgot": SENT,
    "POST /ui/password/forgot/<org_id>": SENT,
    "POST /keyturn/v1/forgot": SENT,
}


def routes_of(app):
    for rule in app.url_map.iter_rules():
        if rule.rule in CONSOLE_ROUTES:
            continue  # test_console.py presses every button
        for method in rule.methods - {"GET", "HEAD", "OPTIONS"}:
            yield f"{method} {rule.rule}"
    yield from (f"POST {path}" for path in CALLS)


def test_every_route_leaves_an_entry_or_has_a_reason_for_none(fake_client):
    assert set(routes_of(Wire(fake_client).app)) == ROUTES.keys() | UNAUDITED_ROUTES.keys()
    assert not ROUTES.keys() & UNAUDITED_ROUTES.keys()


@pytest.mark.real_server
@pytest.mark.parametrize("route", ROUTES)
def test_a_call_that_changes_something_stands_in_the_trail(wire, route):
    prepare, action = ROUTES[route]
    path, body = prepare(wire)
    token = wire.token if "/webhooks" in route else wire.owner
    before = len(wire.trail())

    answer = wire.call(
        path,
        method=route.split()[0],
        **{"data" if isinstance(body, bytes) else "json": body},
        headers=wire.headers(token, X_Request_Id="r-17", If_Match="*"),
        environ_base={"REMOTE_ADDR": "203.0.113.77"},
    )

    assert answer.status_code in (200, 202), answer.get_data(as_text=True)
    (entry,) = wire.trail()[before:]
    token_id = wire.services.callers.find_caller(token).token_id
    assert (entry["action"], entry["outcome"]) == (action, "done")
    assert (entry["by"], entry["source"]) == (f"token {token_id}", "203.0.113.0/24")
    assert entry["requestId"] == "r-17"
    in_query = "a test" if "?reason=" in path else ""
    assert entry["reason"] == (in_query or (body or {}).get("reason", ""))


def test_a_plain_reset_leaves_no_entry(wire):
    wire.a_reset()
    wire.reset(body={"type": "TYPE_SMS"})
    wire.ask("POST", "/v2/users/ada/password_reset", {})

    assert wire.trail() == []
    assert wire.redis.keys(f"{keys.AUDIT}*") == []


# How it ended.


@pytest.mark.real_server
@pytest.mark.parametrize("verb", ["hold", "release"])
@pytest.mark.parametrize("way", ["command", "API"])
def test_what_comes_too_late_stands_as_refused(wire, verb, way):
    reset_id = wire.a_reset()
    wire.redis.hset(keys.reset(reset_id), "st", "accepted")

    if way == "command":
        assert wire.run("reset", verb, reset_id, *WHY).exit_code == 1
    else:
        answer = wire.ask("POST", f"/keyturn/v1/resets/{reset_id}/_{verb}", REASON)
        assert answer.status_code == 400

    (entry,) = wire.trail()
    assert (entry["action"], entry["target"]) == (f"reset.{verb}", reset_id)
    assert entry["outcome"].startswith("refused: the reset is ")


@pytest.mark.real_server
@pytest.mark.parametrize(
    ("arguments", "action"),
    [
        (("token", "add", "--org", "nowhere", "--role", "ORG_OWNER", *WHY), "token.add"),
        (("reset", "send", "lost", *BY), "reset.send"),
        (("user", "import", "-", *WHY), "user.import"),
    ],
)
def test_a_refused_command_says_why(wire, arguments, action):
    a_user(wire.services, "lost", state="locked")

    done = wire.run(*arguments, stdin='{"userId":"x","orgId":"acme","email":"who@"}')

    (entry,) = wire.trail()
    assert done.exit_code == 1
    assert entry["action"] == action
    assert entry["outcome"].startswith("refused: ")
    assert "who@" not in str(entry)


def test_a_repeated_act_changes_nothing_and_says_so(wire):
    wire.run("pause", "channel", "sms", *WHY)
    wire.run("pause", "channel", "sms", *WHY)

    assert [e["outcome"] for e in wire.trail()] == ["done", "refused: it is paused already"]


def test_a_password_against_the_policy_is_refused_in_the_trail(wire):
    short = {"newPassword": {"password": "short"}}
    assert wire.ask("POST", "/v2/users/ada/password", short).status_code == 400

    (entry,) = wire.trail()
    assert (entry["action"], entry["target"]) == ("password.set", "ada")
    assert entry["outcome"].startswith("refused: ")


def test_what_broke_stands_as_failed_and_what_died_as_begun(wire):
    audit = wire.services.audit
    act = {"by": "eve", "target": "ada", "reason": ""}

    with pytest.raises(ZeroDivisionError), audit.acting(Act(action="limit.clear", **act)):
        raise ZeroDivisionError("secret text")
    under_way = audit.acting(Act(action="token.add", **act))
    under_way.__enter__()  # and here the process ends

    failed, begun = wire.trail()
    assert failed["outcome"] == "failed: ZeroDivisionError"
    assert (begun["action"], begun["outcome"]) == ("token.add", "begun")


# No act without a trace.


def spoil_the_trail(wire):
    """No entry can be written any more."""
    for stream in (keys.AUDIT, keys.AUDIT_FREQUENT):
        wire.redis.delete(stream)
        wire.redis.set(stream, "not a stream")


@pytest.mark.real_server
@pytest.mark.parametrize("route", ROUTES)
def test_no_call_does_anything_that_leaves_no_trace(wire, route):
    prepare, _ = ROUTES[route]
    path, body = prepare(wire)
    spoil_the_trail(wire)
    token = wire.token if "/webhooks" in route else wire.owner
    password = wire.redis.hget(keys.directory_user("ada"), "password")
    watched = (keys.PAUSES, keys.SUBSCRIPTIONS, keys.ACTIVE_BATCHES, keys.profile("acme"))
    before = [wire.redis.dump(name) for name in watched]

    answer = wire.ask(route.split()[0], path, body, token)

    assert answer.status_code == 503
    assert "verificationCode" not in answer.get_data(as_text=True)
    assert wire.redis.hget(keys.directory_user("ada"), "password") == password
    assert [wire.redis.dump(name) for name in watched] == before


@pytest.mark.real_server
@pytest.mark.parametrize("command", ["token add", "token revoke", "org add", "user import"])
def test_no_command_does_anything_that_leaves_no_trace(wire, tmp_path, command):
    arguments = COMMANDS[command][0](wire, tmp_path)
    spoil_the_trail(wire)
    before = sorted(wire.redis.keys("kt:*"))

    done = wire.run(*command.split(), *arguments)

    assert done.exit_code == 1
    assert sorted(wire.redis.keys("kt:*")) == before
    assert all(each.revoked_at is None for each in wire.services.callers.list_tokens())


def test_every_code_that_is_handed_out_again_stands_again(wire):
    for _ in range(2):
        answer = wire.ask(
            "POST", "/v2/users/ada/password_reset", {"returnCode": {}}, Idempotency_Key="k1"
        )
        code = answer.get_json()["verificationCode"]

    assert [e["action"] for e in wire.trail()] == ["reset.return_code"] * 2
    assert code not in str(wire.trail())


def test_programs_do_not_push_operators_acts_out(wire):
    wire.run("org", "add", "gamma", "--name", "Gamma", *WHY)
    wire.ask("POST", "/v2/users/ada/password_reset", {"returnCode": {}})
    wire.ask("POST", "/v2/users/ada/password", NEW_PASSWORD)

    assert wire.redis.xlen(keys.AUDIT) == 2
    assert wire.redis.xlen(keys.AUDIT_FREQUENT) == 3
    assert [e["action"] for e in wire.trail()] == [
        "organisation.add",
        "reset.return_code",
        "password.set",
    ]


# What must not stand there.


def test_addresses_phones_and_tokens_are_masked(wire):
    why = f"mail ada@example.com, call +41 79 123 45 67, token {wire.token}, eyJhbGciOi.x.y"
    wire.run("pause", "channel", "sms", "--reason", why, "--by", "eve@ops.example")
    wire.run("suppression", "add", "ada@example.com", "--reason", "asked", *BY)
    wire.run("token", "add", "--org", "acme", "--role", "ORG_OWNER", *WHY)

    raw = str([wire.redis.xrange(stream) for stream in (keys.AUDIT, keys.AUDIT_FREQUENT)])

    assert wire.trail()[0]["reason"] == "mail a***, call +***, token k*** e***"
    assert wire.trail()[0]["by"] == "eve@ops.example"  # who acts is named in full
    for secret in ("ada@", "79 123", "791234567", "kt_pat_", "eyJ"):
        assert secret not in raw


@pytest.mark.real_server
@pytest.mark.parametrize(
    ("how", "source"),
    [("cut", "2001:db8:1::/48"), ("whole", "2001:db8:1:2::7"), ("none", None)],
)
def test_the_source_is_shown_as_the_setting_says(real_client, how, source):
    wire = Wire(real_client, log_addresses=how)
    owner = a_token(wire.services, instance=("IAM_OWNER",))

    wire.call(
        "/keyturn/v1/pauses",
        json=SMS,
        headers=wire.headers(owner),
        environ_base={"REMOTE_ADDR": "2001:db8:1:2::7"},
    )

    assert wire.services.audit.newest()[0].source == source


# Log lines.


def lines_of(logs, event):
    return [line for line in logs if line["event"] == event]


def test_log_lines_of_what_matters_say_who_and_from_where(wire):
    user = wire.services.digests.user_place("ada")[1]
    caller = wire.services.callers.find_caller(wire.token).token_id
    wrong = NEW_PASSWORD | {"verificationCode": "WRONGONE"}
    base = {"REMOTE_ADDR": "203.0.113.77"}

    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
        wire.reset()
        for path, body in (
            ("/v2/users/ada/password", wrong),
            ("/v2/users/ada/password", NEW_PASSWORD),
            (SET_PASSWORD, NEW_PASSWORD | {"userId": "ada"}),
        ):
            wire.call(path, json=body, headers=wire.headers(), environ_base=base)
        wire.call("/callbacks/sendgrid", data=b"[]", environ_base=base)

    told = {"user": user, "caller_id": caller}
    for event, number in (("reset.requested", 1), ("code.refused", 1), ("password.changed", 2)):
        found = lines_of(logs, event)
        assert len(found) == number, event
        assert [line | told for line in found] == found
    seen = [
        e for e in logs if e["event"] in ("code.refused", "password.changed", "callback.refused")
    ]
    assert {line["source"] for line in seen} == {"203.0.113.0/24"}
    assert "203.0.113.77" not in str(logs)
    assert len(lines_of(logs, "callback.refused")) == 1


# Who asked.


@pytest.mark.real_server
@pytest.mark.parametrize("way", ["API", "command", "resend"])
def test_explain_names_the_caller(wire, way):
    token_id = wire.services.callers.find_caller(wire.token).token_id
    if way == "command":
        wire.run("reset", "send", "ada", *BY)
    else:
        reset_id = wire.a_reset()
    if way == "resend":
        wire.run("reset", "resend", reset_id, *WHY)
    expected = f"token {token_id}" if way == "API" else "a command"

    told = wire.printed("explain", "--user", "ada")

    assert told["caller"] == expected
    assert f"caller {expected}" in str(told["chain"])
    assert expected in wire.run("explain", "--user", "ada").output


def test_explain_names_the_caller_by_the_api_too(wire):
    token_id = wire.services.callers.find_caller(wire.token).token_id
    shown = wire.ask("GET", f"/keyturn/v1/resets/{wire.a_reset()}/explanation").get_json()

    assert shown["caller"] == f"token {token_id}"
    assert "caller" not in wire.show(wire.records()[0]).get_json()


def test_explain_names_the_page(fake_client):
    visit = Visit(fake_client)
    reset_id, code = visit.record()
    visit.post(visit.fill(visit.link(code)), path=f"{PATH}/fresh")

    asked = [r for r in visit.services.resets.find_of_user("ada") if r.reset_id != reset_id]

    assert [reset.caller_id for reset in asked] == ["page"]
    assert [name_caller(reset) for reset in asked] == ["the page"]


def test_explain_names_the_batch():
    assert name_caller(a_reset(batch_id="b1", caller_id=None)) == "batch b1"

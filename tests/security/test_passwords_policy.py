"""Passwords: length before composition, guessable and leaked ones refused, one normal form."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
import unicodedata
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from argon2 import PasswordHasher
from click.testing import CliRunner

from shared.log import EVENTS
from shared.models import Organisation
from shared.store import keys
from tests.support.builders import SECRET, a_user
from tests.support.pages import Visit, see
from tests.support.wire import problem
from tests.support.wire_v2 import WireV2
from web.cli import keyturn
from web.monitoring.metrics import render_metrics

GUESSABLE = (400, 3, "KEYTURN-PasswordGuessable")
NO_SYMBOL = (400, 3, "DOMAIN-ZDLwA")
TOO_SHORT = (400, 3, "DOMAIN-HuJf6")
COMMON = [
    "Password1!", "P@ssw0rd!", "P@$$w0rd2026", "Summer2026!", "Winter-2025!", "Keyturn1!",
    "K3yturn!!", "Qwertz123!", "Qwerty123!", "Azerty123!", "Sommer2026!", "Frühling2026!",
    "Fru\u0308hling2026!", "Été2026!!", "Verano2026!", "Inverno24!", "Lato2026!!", "Januar2026!",
    "Février2026!", "Październik1!", "Welcome1!", "Willkommen1!", "Bienvenue1!", "Contraseña1!",
    "Benvenuto1!", "Wachtwoord1!", "Hasło2026!", "Senha123!", "Hallo123!", "Letmein1!",
    "Admin123!", "Iloveyou1!", "Berlin12!", "Liverpool1!", "Michael007!", "123!Dragon",
    "1q2w3e4R!", "Abcd1234!", "password password", "passwordpassword", "aaaaaaaaaaaaaaaa",
    "123456789012345", "qwertyuiopasdfgh", "password12345678", "Summer2026!Summer2026!",
    "Password1!" * 20, "Summer2026!" * 9, "2026" * 50,
]  # fmt: skip
OWN = [
    "Lovelace1!", "Adalovelace1!", "Ada-Lovelace-1815", "Ada Lovelace 1815", "Countess12!",
    "Mathematics-Ltd1!", "Analytical2026!", "Acme-2026!", "Bright-Idea1!", "+41791234567",
    "+41791234567Aa!", "Aa!0791234567", "Login-Portal1!", "Countess@analytical", "L0velace!1",
]  # fmt: skip
GOOD = [
    "correct horse battery staple", "Haus Wolke Löffel Tiger", "zielony kot je trzy buraki",
    "нефть стол река сапог", "mesa nube tigre cuchara", "桜電車海苔机上空犬猫本山川海風",
    "Mein Sommer in Patagonien", "gT7!pq2Z", "xK9$mQ2!vL", "Tr0ub4dor&3", "Correct-horse-7",
    "Kx7-abcDEF_123-xyz", "quartz-viola-tundra", "Ada liest gern im Garten",
    "aaaaaaaaaaaaaaaaaaaaaaaaaa xK9$mQ2!vL gT7!pq2Z",
]  # fmt: skip
COMPOSED = "Grüße-Äbyx-Straße"
APART = unicodedata.normalize("NFD", COMPOSED)
SLOWEST_SECONDS = 0.5  # of processor time, on a machine as slow as any


@pytest.fixture
def wire(real_client):
    wire = WireV2(real_client)
    wire.services.callers.save_organisation(Organisation("acme", "Bright Idea"))
    known = {"userName": "countess", "email": "augusta.mathematics@analytical.example"}
    a_user(wire.services, **known)
    return wire


@pytest.fixture
def visit(fake_client):
    return Visit(fake_client)


def command(client, *arguments, redis_url, **environ):
    env = {"KEYTURN_REDIS_URL": redis_url, "KEYTURN_SECRET_KEYS": SECRET} | environ
    return CliRunner().invoke(keyturn, arguments, env=env)


# Composition and length.


@pytest.mark.parametrize("password", ["quartz viola tun", "quartzviolatund", "QUARTZVIOLATUND"])
def test_fifteen_characters_need_no_composition(wire, password):
    assert wire.set_password(password=password).status_code == 200
    assert wire.has_password(password)


def test_fourteen_characters_need_it(wire):
    assert problem(wire.set_password(password="Quartz7violatu")) == NO_SYMBOL


def test_length_is_counted_in_the_normal_form(wire):
    seven = unicodedata.normalize("NFD", "Äx7!ëôü")

    assert problem(wire.set_password(password=seven)) == TOO_SHORT


def test_two_hundred_characters_are_counted_in_the_normal_form(wire):
    letters = "äkëlîmõnüpÄrËsÎtÕv" * 12
    most = unicodedata.normalize("NFD", letters[:200])

    assert len(most) > 250
    assert wire.set_password(password=most).status_code == 200
    assert wire.set_password(password="x9-Quartz", current=most).status_code == 200
    assert problem(wire.set_password(password=letters[:201]))[:2] == (400, 3)


def test_what_a_password_needs_is_a_setting(real_client):
    wire = WireV2(real_client, password_needs=("lower",), password_min_characters=9)

    assert problem(wire.set_password(password="quartzvi")) == TOO_SHORT
    assert wire.set_password(password="quartzvio").status_code == 200
    assert problem(wire.set_password(password="QUARTZVI9"))[2] == "DOMAIN-co3Xw"


def test_an_organisation_has_a_policy_of_its_own(wire, real_client, real_redis_url):
    def set_policy(*options):
        return command(
            real_client, "org", "password", "acme", *options, "--reason", "rule", "--json",
            redis_url=real_redis_url,
        )  # fmt: skip

    done = set_policy("--min-characters", "12", "--needs", "lower,number")

    assert json.loads(done.stdout) == {
        "orgId": "acme", "minCharacters": 12, "needs": ["lower", "number"],
    }  # fmt: skip
    assert problem(wire.set_password(password="gT7!pq2Zx-k")) == TOO_SHORT
    assert wire.set_password(password="gt7zpq2zxwkv").status_code == 200
    a_user(wire.services, "bob", orgId="beta")
    assert wire.set_password("bob", password="gT7!pq2Z").status_code == 404  # not the caller's
    set_policy("--min-characters", "", "--needs", "none")
    assert wire.set_password(password="gtqzpqwz").status_code == 200
    acts = [each.act for each in wire.services.audit.newest()]
    assert [each.target for each in acts if each.action == "organisation.password"] == ["acme"] * 2
    set_policy("--needs", "")
    assert problem(wire.set_password(password="gtqzpqwz"))[2] == "DOMAIN-VoaRj"


def test_a_policy_outlives_a_change_of_the_name(wire, real_client, real_redis_url):
    words = ("--min-characters", "12", "--reason", "rule")
    command(real_client, "org", "password", "acme", *words, redis_url=real_redis_url)

    command(real_client, "org", "add", "acme", "--name", "Acme AG", redis_url=real_redis_url)

    assert problem(wire.set_password(password="gT7!pq2Zx-k")) == TOO_SHORT


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["nowhere", "--min-characters", "9"], "no organisation with that id"),
        (["acme", "--min-characters", "201"], "at most 200"),
        (["acme", "--min-characters", "0"], "above 0"),
        (["acme", "--needs", "vowels"], "lower, upper, number, symbol"),
    ],
)
def test_a_policy_that_cannot_be_is_refused(wire, real_client, real_redis_url, options, reason):
    words = ("org", "password", *options, "--reason", "rule")

    done = command(real_client, *words, redis_url=real_redis_url)

    assert done.exit_code == 1
    assert reason in done.stderr


# Guessable ones.


@pytest.mark.parametrize("password", COMMON, ids=lambda text: text[:30])
def test_a_common_password_is_refused(wire, password):
    assert problem(wire.set_password(password=password)) == GUESSABLE
    assert not wire.has_password(password)


@pytest.mark.parametrize("password", OWN)
def test_a_password_of_own_words_is_refused(real_client, password):
    wire = WireV2(
        real_client,
        public_url="https://login.portal.example",
        password_needs=(),
        email_from_name="Bright Idea",
    )
    wire.services.callers.save_organisation(Organisation("acme", "Mathematics Ltd."))
    a_user(wire.services, userName="countess", email="augusta.king@analytical.example")

    assert problem(wire.set_password(password=password)) == GUESSABLE


@pytest.mark.parametrize("password", GOOD)
def test_a_good_password_is_taken(wire, password):
    assert wire.set_password(password=password).status_code == 200


def test_a_code_stays_usable_after_a_guessable_password(wire):
    code = wire.a_code()

    assert problem(wire.set_password(password="Summer2026!", code=code)) == GUESSABLE
    assert wire.set_password(code=code).status_code == 200


@pytest.mark.parametrize(
    "password",
    [
        "4@8({[</369&#!1/|0$5+7%2*9" * 8, "@" * 200, "aA4@bB8cC({[<eE3gG69iI1!|" * 8,
        "p@ssw0rd" * 25, "ab" * 100, "\ufdfa" * 200,
        "".join(chr(33 + n * 7 % 90) for n in range(200)),
    ],
    ids=range(7),
)  # fmt: skip
def test_a_check_is_bounded_in_time(wire, password):
    wire.set_password(password="Summer2026!")  # loads the lists
    before = time.thread_time()

    answer = wire.set_password(password=password[:200])

    assert time.thread_time() - before < SLOWEST_SECONDS
    assert answer.status_code in (200, 400)


def test_the_words_of_the_refusal_are_the_caller_s(wire):
    code = wire.a_code()

    answer = wire.set_password(password="Summer2026!", code=code, Accept_Language="de")

    assert "leicht zu erraten" in answer.get_json()["message"]


# Leaked ones.


def sha1(text):
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest().upper()


class RangeStub:
    """Answers the range call with the suffixes of leaked passwords and padding."""

    def __init__(self, *leaked: str, status: int = 200, delay_seconds: float = 0.0) -> None:
        digests = [sha1(each) for each in leaked]
        stub, self.calls = self, []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                stub.calls.append((self.path, dict(self.headers)))
                time.sleep(delay_seconds)
                prefix = self.path.rpartition("/")[2]
                lines = [f"{each[5:]}:42" for each in digests if each.startswith(prefix)]
                padding = [
                    f"{sha1('gT7!pq2Z')[5:]}:0",
                    "0" * 35 + ":0",
                ]
                self.send_response(status)
                self.end_headers()
                self.wfile.write("\r\n".join(lines + padding).encode())

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/range/"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def lookups(wire):
    lines = render_metrics(wire.services).decode().splitlines()
    found = [line for line in lines if line.startswith("keyturn_password_lookups_total{")]
    return {line.split('"')[1]: float(line.split()[-1]) for line in found}


def test_a_leaked_password_is_refused_and_five_digits_leave(real_client):
    leaked = "Kœrper-vX9-Quartz"
    with RangeStub(leaked) as stub:
        wire = WireV2(real_client, password_range_url=stub.url)

        answers = [
            wire.set_password(password=each)
            for each in (unicodedata.normalize("NFD", leaked), "gT7!pq2Z")
        ]

    assert problem(answers[0]) == GUESSABLE
    assert answers[1].status_code == 200  # a count of 0 is padding
    assert [path for path, _ in stub.calls] == [
        "/range/" + sha1(each)[:5] for each in (leaked, "gT7!pq2Z")
    ]
    assert all(headers["Add-Padding"] == "true" for _, headers in stub.calls)
    assert lookups(wire) == {"leaked": 1, "unknown": 1}


@pytest.mark.parametrize("fault", ["error", "slow", "closed"])
def test_a_silent_range_service_keeps_nobody_out(real_client, fault, capfd):
    stub = RangeStub("gT7!pq2Z", status=503 if fault == "error" else 200,
                     delay_seconds=6 if fault == "slow" else 0)  # fmt: skip
    with stub:
        wire = WireV2(real_client, password_range_url=stub.url)
        if fault == "closed":
            wire.services.leaked_passwords._transport._port = 1
        before = time.monotonic()

        answer = wire.set_password(password="gT7!pq2Z")

        assert answer.status_code == 200
        assert time.monotonic() - before < 5
    assert lookups(wire) == {"failed": 1}
    assert "passwords.unasked" in EVENTS


def test_without_the_setting_nothing_is_asked(wire):
    assert wire.services.leaked_passwords is None


# One normal form.


@pytest.mark.parametrize(("stored", "typed"), [(COMPOSED, APART), (APART, COMPOSED)])
def test_an_imported_password_matches_in_either_spelling(wire, stored, typed):
    a_user(wire.services, password=stored)

    assert wire.set_password(current=typed).status_code == 200


@pytest.mark.parametrize(("chosen", "typed"), [(COMPOSED, APART), (APART, COMPOSED)])
def test_a_chosen_password_matches_in_either_spelling(visit, chosen, typed):
    _, code = visit.record()

    answer = visit.save(visit.link(code), password=chosen, passwordConfirm=typed)

    assert answer.status_code == 200
    assert visit.has_password(chosen)
    assert visit.has_password(typed)


@pytest.mark.parametrize("stored", [COMPOSED, APART])
@pytest.mark.parametrize("typed", [COMPOSED, APART])
def test_a_hash_from_before_matches(wire, stored, typed):
    former = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(stored)
    wire.redis.hset(keys.directory_user("ada"), "password", former)

    assert problem(wire.set_password(current=typed + "x"))[2] == "COMMAND-3M0fs"
    assert wire.set_password(current=typed).status_code == 200


@pytest.mark.parametrize("sign", ["\0", "\x1b", "\x7f", "\u200b", "\ue000", "\U0010ffff"])
def test_an_odd_character_is_no_error_of_ours(wire, sign):
    odd = f"xK9$mQ2!vL{sign}w"

    assert wire.set_password(password=odd).status_code == 200
    assert wire.set_password(current=odd).status_code == 200


@pytest.mark.parametrize("field", ["newPassword", "currentPassword"])
@pytest.mark.parametrize("path", [
    "/v2/users/ada/password", "/zitadel.user.v2.UserService/SetPassword",
])  # fmt: skip
def test_half_a_character_is_the_caller_s_error(wire, field, path):
    odd = '"xK9$mQ2!vL\\ud800"'
    body = (
        f'{{"userId":"ada","newPassword":{{"password":{odd}}}}}'
        if field == "newPassword"
        else f'{{"userId":"ada","newPassword":{{"password":"xK9$mQ2!vL"}},"currentPassword":{odd}}}'
    )
    headers = wire.headers(Content_Type="application/json")

    answer = wire.call(path, data=body, headers=headers)

    assert answer.status_code == 400


def test_half_a_character_on_the_page_is_a_page(visit):
    _, code = visit.record()
    form = visit.fill(visit.link(code))
    del form["password"]
    body = "&".join(f"{name}={value}" for name, value in form.items()) + "&password=%ED%A0%80"

    answer = visit.browser.post(
        "/ui/password/reset", data=body, content_type="application/x-www-form-urlencoded"
    )

    assert answer.status_code == 400
    assert see(answer).text


# The page.


def test_the_rules_stand_before_the_first_try(visit):
    page = see(visit.open("/ui/password/reset?userID=ada&orgID=acme&lang=en"))

    assert "At least 8 characters." in page.text
    assert "With fewer than 15 characters also: a lower case letter, an upper" in page.text
    assert "No common password" in page.text
    assert page.find(id="password")["aria-describedby"].startswith("password-rules")


def test_the_rules_are_those_of_the_organisation_of_the_link(visit):
    organisation = Organisation(
        "acme", "Acme", password_min_characters=20, password_needs=("number",)
    )
    visit.services.callers.save_organisation(organisation)

    own = see(visit.open("/ui/password/reset?userID=ada&orgID=acme&lang=en"))
    other = see(visit.open("/ui/password/reset?userID=ada&orgID=nowhere&lang=en"))

    assert "At least 20 characters." in own.text
    assert "With fewer" not in own.text
    assert own.find(id="password")["passwordrules"] == "minlength: 20;"
    assert "At least 8 characters." in other.text


def test_a_short_link_shows_the_organisation_s_rules_with_the_first_refusal(visit):
    visit.services.callers.save_organisation(
        Organisation("acme", "Acme", password_min_characters=20)
    )
    reset_id, code = visit.record()

    answer = visit.save(visit.short_link(reset_id, code), password="xK9$mQ2!vL",
                        passwordConfirm="xK9$mQ2!vL", lang="en")  # fmt: skip

    assert "needs at least 20 characters" in see(answer).text
    assert "At least 20 characters." in see(answer).text


def test_a_guessable_password_is_explained_on_the_page(visit):
    _, code = visit.record()

    answer = visit.save(visit.link(code, language="en"), password="Summer2026!",
                        passwordConfirm="Summer2026!")  # fmt: skip

    assert answer.status_code == 400
    assert "too easy to guess" in see(answer).text
    assert visit.save(visit.link(code)).status_code == 200


def test_the_button_that_shows_passwords_comes_from_a_script_of_our_own(visit):
    answer = visit.open("/ui/password/reset?userID=ada&lang=en")
    page = see(answer)
    scripts = [fields for tag, fields in page.tags if tag == "script"]

    assert page.find(id="reveal")["data-show"] == "Show passwords"
    assert sum(tag == "button" for tag, _ in page.tags) == 2
    assert [list(each) for each in scripts] == [["src"]]  # none is inline
    script = visit.open(scripts[0]["src"])
    assert script.status_code == 200
    assert script.mimetype == "text/javascript"
    policy = answer.headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    for name in ("password", "passwordConfirm"):
        assert page.find(id=name)["type"] == "password"
        assert page.find(id=name)["autocomplete"] == "new-password"


# A link that has ended. Until links carry a secret of their own, opening one looks nothing up.


@pytest.fixture
def link(visit):
    """A mail's link, with a secret of its own."""
    _, code = visit.record()
    if not hasattr(code, "link_secret"):
        pytest.skip("links carry the typed code")
    return visit.link(code, language="en")


def test_a_used_link_says_so_when_it_is_opened(visit, link):
    visit.save(link)
    before = visit.everything_stored()

    answers = [visit.open(link), visit.open(link, method="HEAD")]

    assert [each.status_code for each in answers] == [200, 200]
    page = see(answers[0])
    assert "schon benutzt" in page.text
    assert page.actions == ["/ui/password/reset/fresh"]
    assert visit.everything_stored() == before


def test_an_expired_link_says_so_when_it_is_opened(fake_client):
    visit = Visit(fake_client, code_lifetime_seconds=0.001)
    _, code = visit.record()
    if not hasattr(code, "link_secret"):
        pytest.skip("links carry the typed code")

    assert "ist abgelaufen" in see(visit.open(visit.link(code, language="en"))).text


def test_a_replaced_short_link_says_so_when_it_is_opened(visit, link):
    reset_id, code = visit.record()
    visit.save(visit.short_link(reset_id, code))

    page = see(visit.open(visit.short_link(reset_id, code) + "?lang=en"))

    assert "schon benutzt" in page.text


def test_a_live_or_a_wrong_link_shows_the_form(visit, link):
    wrong = re.sub(r"code=..", "code=ZZ", link)
    unknown = link.replace("userID=ada", "userID=nobody")
    live = see(visit.open(link))
    visit.save(link)

    forms = [live, *(see(visit.open(each)) for each in (wrong, unknown))]

    assert [len(page.forms) for page in forms] == [2, 2, 2]


def test_a_typed_code_is_not_looked_up_by_opening_a_page(visit):
    _, code = visit.record()
    visit.save(visit.link(code))

    page = see(visit.open(f"/ui/password/reset?userID=ada&code={code.characters}"))

    assert len(page.forms) == 2


@pytest.mark.one_server  # the fake one can be away
def test_a_store_that_is_away_shows_the_form(visit):
    link = visit.link(visit.record()[1])
    visit.redis.connection_pool.connection_kwargs["server"].connected = False

    assert visit.open(link).status_code == 200

"""`keyturn org branding|logo|texts`, as an operator types it."""

from __future__ import annotations

import json

import pytest

from tests.shared.organisations.test_logos import a_png

pytestmark = pytest.mark.real_server
WHY = ("--reason", "a test", "--by", "eve")


def printed(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refused(done, *words):
    assert (done.returncode, done.stdout) == (1, "")
    assert all(word in done.stderr for word in words), done.stderr


@pytest.fixture
def file_of(tmp_path):
    def write(content):
        path = tmp_path / "given"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def test_a_branding_is_set_and_shown(run):
    told = printed(
        run(
            *("org", "branding", "set", "acme", "--display-name", "Acme & Söhne"),
            *("--language", "de", "--allowed-language", "de", "--allowed-language", "en"),
            *("--link-host", "app.acme.example", "--light", "#8A1C1C", "--help-url"),
            *("https://help.acme.example/", "--dark", "#ffd24d,#000000,#ffd24d", "--reply-to"),
            *("help@acme.example", "--postal-line", "Weg 1, Zürich", *WHY, "--json"),
        )
    )

    assert (told["displayName"], told["languages"]) == ("Acme & Söhne", ["de", "en"])
    assert told["dark"] == {"accent": "#ffd24d", "onAccent": "#000000", "link": "#ffd24d"}
    assert printed(run("org", "branding", "show", "acme", "--json")) == told
    shown = run("org", "branding", "show", "acme").stdout
    assert "accent #8a1c1c, onAccent #ffffff, link #8a1c1c" in shown
    assert "help@acme.example" in shown


def test_what_is_not_given_stays_and_an_empty_value_is_the_default(run):
    run("org", "branding", "set", "acme", "--postal-line", "A", "--light", "#8a1c1c",
        "--link-host", "a.example", *WHY)  # fmt: skip

    told = printed(
        run("org", "branding", "set", "acme", "--light", "", "--link-host", "", *WHY, "--json")
    )

    assert (told["postalLine"], told["linkHosts"]) == ("A", [])
    assert told["light"]["accent"] == "#1f54cc"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--light", "#ffff00"), ["light.accent:", "the nearest that passes is #797900"]),
        (("--light", "yellow"), ["light.accent: must be a colour"]),
        (("--light", ",#000000"), ["light.accent:"]),
        (("--language", "xx"), ["language: xx is not supported"]),
        (("--display-name", "a@acme.com"), ["displayName: must be"]),
        (("--display-name", ""), ["displayName:"]),
        (("--help-url", "http://x.example"), ["helpUrl:"]),
        (("--reply-to", "x"), ["replyTo:"]),
    ],
)
def test_a_bad_branding_is_refused_and_nothing_is_saved(run, services, arguments, words):
    before = services.profiles.find("acme")

    refused(run("org", "branding", "set", "acme", "--postal-line", "A", *arguments, *WHY), *words)

    assert services.profiles.find("acme") == before
    assert services.audit.newest(most=9) == []


@pytest.mark.parametrize(
    "command",
    [
        ("branding", "show", "none-such"),
        ("branding", "set", "none-such", "--postal-line", "A", *WHY),
        ("logo", "none-such", "--remove", *WHY),
        ("texts", "list", "none-such"),
        ("texts", "show", "none-such", "de"),
        ("texts", "history", "none-such"),
        ("texts", "rollback", "none-such", "1", *WHY),
    ],
)
def test_an_unknown_organisation_is_refused(run, command):
    refused(run("org", *command), "there is no organisation with that id")


def test_a_reason_is_needed(run):
    assert run("org", "branding", "set", "acme", "--postal-line", "A").returncode == 2
    four = ",".join(["#1f54cc"] * 4)
    assert run("org", "branding", "set", "acme", "--light", four, *WHY).returncode == 2
    refused(run("org", "logo", "acme", "--remove", "--reason", " "), "reason must have")


def test_a_logo_is_set_and_removed(run, file_of, services):
    run("org", "logo", "acme", file_of(a_png()), *WHY)
    assert services.profiles.find("acme").branding.logo.content == a_png()
    assert "image/png, 20 by 10" in run("org", "branding", "show", "acme").stdout

    refused(run("org", "logo", "acme", file_of(b"GIF89a"), *WHY), "logo: it is neither PNG")
    refused(run("org", "logo", "acme", file_of(b"x" * 200_000), *WHY), "at most 102400")
    assert run("org", "logo", "acme", *WHY).returncode == 2
    assert run("org", "logo", "acme", file_of(a_png()), "--remove", *WHY).returncode == 2
    assert services.profiles.find("acme").branding.logo

    run("org", "logo", "acme", "--remove", *WHY)
    assert services.profiles.find("acme").branding.logo is None


@pytest.mark.parametrize(
    "content",
    [
        '[reset]\nheading = "Neu"\ncode = "Oder:"\n',
        '{"reset.heading": "Neu", "reset.code": "Oder:"}',
        ' {"reset": {"heading": "Neu", "code": "Oder:"}}',
        '"reset.heading" = "Neu"\n"reset.code" = "Oder:"\n',
    ],
)
def test_texts_are_read_from_toml_and_json(run, file_of, content):
    file = file_of(content)
    assert run("org", "texts", "list", "acme").stdout.startswith("All texts are the built-in")

    printed(run("org", "texts", "set", "acme", "de", file, *WHY, "--json"))

    shown = printed(run("org", "texts", "show", "acme", "de", "--json"))
    assert shown == {"reset.heading": "Neu", "reset.code": "Oder:"}
    assert printed(run("org", "texts", "list", "acme", "--json")) == [
        {"language": "de", "version": 1, "sentences": 2}
    ]
    every = printed(run("org", "texts", "show", "acme", "de", "--built-in", "--json"))
    assert (every["reset.heading"], every["reset.button"]) == ("Neu", "Neues Passwort wählen")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", ["neither TOML nor JSON"]),
        ("[reset", ["neither TOML nor JSON"]),
        (b"\xff\xfe", ["neither TOML nor JSON"]),
        ("[reset]\nheading = 7\n", ["reset.heading: must be a text"]),
        ('[reset]\nheading = ["x"]\n', ["reset.heading: must be a text"]),
        ('[[reset]]\nheading = "x"\n', ["reset: must be a text"]),
        ('[reset.more]\nheading = "x"\n', ["reset.more: must be a text"]),
        ('[reset]\nhaeding = "x"\n', ["reset.haeding: there is no such sentence"]),
        ('[reset]\nheading = "{name}"\n', ["reset.heading: there is no field {name} here"]),
        ('[sms]\nreset = "{code}"\n', ["sms.reset: it must hold {link}"]),
    ],
)
def test_bad_texts_are_refused(run, file_of, content, words):
    refused(run("org", "texts", "set", "acme", "de", file_of(content), *WHY), *words)


def test_an_sms_over_its_segments_says_what_it_costs(run, file_of):
    file = file_of('[sms]\nreset = "' + "Ihr Code ist da. " * 8 + '{code} {link}"')

    done = run("org", "texts", "set", "acme", "de", file, *WHY, KEYTURN_SMS_PRICES="CH=0.07")

    refused(done, "sms.reset: it takes 2 segments", "0.14 EUR each")


def test_versions_are_listed_and_rolled_back_to(run, file_of):
    for word in ("Eins", "Zwei"):
        run("org", "texts", "set", "acme", "de", file_of(f'[reset]\nheading = "{word}"'), *WHY)

    assert printed(run("org", "texts", "rollback", "acme", "1", *WHY, "--json")) == {
        "language": "de", "version": 3}  # fmt: skip

    assert printed(run("org", "texts", "show", "acme", "de", "--json")) == {"reset.heading": "Eins"}
    history = printed(run("org", "texts", "history", "acme", "--json"))["versions"]
    assert [(each["version"], each["by"], each["reason"]) for each in history] == [
        (3, "eve", "a test"), (2, "eve", "a test"), (1, "eve", "a test")]  # fmt: skip
    assert "a test" in run("org", "texts", "history", "acme").stdout
    refused(run("org", "texts", "rollback", "acme", "9", *WHY), "version: 9 is not among")
    assert run("org", "texts", "rollback", "acme", "0", *WHY).returncode == 2
    refused(run("org", "texts", "show", "acme", "xx"), "language: xx is not supported")

"""Ask DNS whether an organisation may send with a From: who owns it, SPF, DKIM, DMARC."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

from shared.organisations.sender import From

LOOKUP_SECONDS = 5.0  # of one name
OWNER_LABEL = "_keyturn"
SENDGRID_SELECTORS = ("s1", "s2")
PASS, FAIL, UNKNOWN, NONE = "pass", "fail", "unknown", "none"


class DomainCheck:
    """Asks one resolver."""

    def __init__(self, nameserver: str = "", port: int = 53) -> None:
        """`nameserver` is an address; empty: the system's resolver is asked."""
        from dns.resolver import Resolver  # noqa: PLC0415 - 40 ms, where a domain is checked

        self._resolver = Resolver(configure=not nameserver)
        if nameserver:
            self._resolver.nameservers, self._resolver.port = [nameserver], port
        self._resolver.lifetime = LOOKUP_SECONDS

    def check(
        self, from_: From, token: str, providers: Iterable[str]
    ) -> tuple[str, dict[str, str]]:
        """Return the state of a From, and what was found: pass, fail, unknown, none.

        It is verified if the domain holds the token, publishes SPF (a relay sends under the From)
        or a DKIM key, and has DMARC's policy met by either.
        """
        domain, carriers = from_.address.rpartition("@")[2].lower(), set(providers)
        selectors = from_.dkim_selectors or (SENDGRID_SELECTORS if "sendgrid" in carriers else ())
        keys = [self._texts(f"{each}._domainkey.{domain}") for each in selectors]
        spf = _judge(self._texts(domain), _has_spf)
        dkim = max(
            (_judge(key, lambda found: any(_has_key(text) for text in found)) for key in keys),
            key=(FAIL, UNKNOWN, PASS).index,
            default=UNKNOWN,
        )
        owner = _judge(self._texts(f"{OWNER_LABEL}.{domain}"), lambda found: token in found)
        is_aligned = dkim == PASS or (spf == PASS and "sendgrid" not in carriers)
        dmarc = UNKNOWN
        with suppress(LookupError):
            dmarc = (PASS if is_aligned else FAIL) if self._has_dmarc(domain) else NONE
        if dmarc == FAIL and UNKNOWN in (spf, dkim):
            dmarc = UNKNOWN
        findings = {"owner": owner, "spf": spf, "dkim": dkim, "dmarc": dmarc}
        if owner == PASS and dmarc in (PASS, NONE) and PASS in (spf, dkim):
            return "verified", findings
        is_away = UNKNOWN in (owner, spf, dmarc)
        return ("unknown" if is_away and FAIL not in (owner, dmarc) else "unverified"), findings

    def _has_dmarc(self, domain: str) -> bool:
        """Return True if the domain, or one above it, has a policy; LookupError: unknown."""
        labels = domain.split(".")
        for first in range(len(labels) - 1):
            found = self._texts("_dmarc." + ".".join(labels[first:]))
            if found is None:
                raise LookupError
            if any(_is(text, "v=DMARC1") for text in found):
                return True
        return False

    def _texts(self, name: str) -> list[str] | None:
        """Return the TXT records of a name; None if DNS does not answer."""
        from dns.exception import DNSException  # noqa: PLC0415
        from dns.resolver import NXDOMAIN, NoAnswer  # noqa: PLC0415

        try:
            answer = self._resolver.resolve(name, "TXT")
        except (NXDOMAIN, NoAnswer):
            return []
        except DNSException:
            return None
        return [b"".join(record.strings).decode("ascii", "replace") for record in answer]


def _judge(found: list[str] | None, is_good: Callable[[list[str]], bool]) -> str:
    if found is None:
        return UNKNOWN
    return PASS if is_good(found) else FAIL


def _has_spf(found: list[str]) -> bool:
    """Return True for one policy, as two are an error, that lets some host send."""
    policies = [text.lower().split() for text in found if _is(text, "v=spf1")]
    return len(policies) == 1 and policies[0] != ["v=spf1", "-all"]


def _is(text: str, version: str) -> bool:
    """Return True for a record that begins with this version, as a word."""
    word = text.strip().partition(";")[0].partition(" ")[0]
    return word.lower() == version.lower()


def _has_key(text: str) -> bool:
    """Return True for a DKIM key that was not revoked (an empty p)."""
    tags = (part.strip().partition("=") for part in text.split(";"))
    return any(name.strip() == "p" and value.strip() for name, _, value in tags)

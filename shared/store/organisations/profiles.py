"""Store the branding and the texts of organisations.

Name, languages and link hosts stand in the organisation's own hash, where recording a reset finds
them; the rest stands beside it, in the same slot.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from threading import Lock
from typing import Any

import orjson
from cachetools import TTLCache, cached

from shared.errors import VersionConflictError
from shared.organisations.profile import (
    Branding,
    Logo,
    Palette,
    Profile,
    TextVersion,
)
from shared.store import keys
from shared.store.callers import organisation_from_hash
from shared.store.connection import Client, store_errors
from shared.store.digests import Digests
from shared.store.scripts import Scripts
from shared.validation import moment

MAX_VERSIONS = 50  # of texts, that an organisation can go back to
CACHE_SECONDS = 2.0  # how late a change is noticed
MAX_CACHED = 1024
TEXT = "text:"
OWN = ("light", "dark", "help_url", "postal_line", "reply_to")  # what of a branding stands here


class ProfileStore:
    """Read and change profiles. Every method may raise StoreUnavailableError."""

    def __init__(self, client: Client, digests: Digests, durability: str = "memory") -> None:
        """`client` may be a fake one as long as `durability` is `memory`."""
        self._client, self._digests = client, digests
        self._scripts = Scripts(client, durability)

    def find(self, org_id: str) -> Profile | None:
        """Return the profile of an organisation, its defaults included; None: there is no such."""
        with store_errors():
            pipe = self._client.pipeline(transaction=False)
            pipe.hgetall(keys.organisation(org_id))
            pipe.hgetall(keys.profile(org_id))
            organisation, profile = pipe.execute()
        return _parse(org_id, organisation, profile) if organisation else None

    def save_branding(
        self, org_id: str, branding: Branding, *, version: int, is_logo_new: bool = False
    ) -> int:
        """Replace the branding if it has this version; return the new version.

        Raises:
            VersionConflictError: it has another one by now.
        """
        self._digests.check()
        own = {name: each for name, each in asdict(branding).items() if name in OWN and each}
        new = self._scripts.run_durably(
            "organisation/save_branding",
            (keys.organisation(org_id), keys.profile(org_id)),
            (
                version,
                branding.display_name,
                branding.language or "",
                " ".join(branding.languages),
                " ".join(branding.link_hosts),
                orjson.dumps(own).decode(),
                *([_write_logo(branding.logo)] if is_logo_new else []),
            ),
        )
        if not new:
            raise VersionConflictError
        with store_errors():
            self._client.incr(keys.VERSION)  # web processes keep organisations for a moment
        return int(new)

    def save_text(
        self,
        org_id: str,
        language: str,
        sentences: Mapping[str, str],
        *,
        version: int,
        by: str,
        reason: str,
    ) -> int:
        """Replace the texts of a language if they have this version; return the new version.

        `version` 0: there are none yet. No sentences: the built-in texts are in force again.

        Raises:
            VersionConflictError: they have another one by now.
        """
        self._digests.check()
        text = orjson.dumps(dict(sentences)).decode() if sentences else ""
        new = self._scripts.run_durably(
            "organisation/save_text",
            (keys.organisation(org_id), keys.profile(org_id), keys.text_history(org_id)),
            (language, version, text, by, reason, MAX_VERSIONS),
        )
        if not new:
            raise VersionConflictError
        return int(new)

    def history(self, org_id: str) -> list[TextVersion]:
        """Return the last versions of all texts, the newest first."""
        with store_errors():
            entries = self._client.lrange(keys.text_history(org_id), 0, -1)
        return [_parse_change(orjson.loads(entry)) for entry in entries]


def remember_profiles(store: ProfileStore) -> Callable[[str], Profile | None]:
    """Return `find` with a cache of two seconds that threads may share."""
    cache: TTLCache[Any, Profile | None] = TTLCache(MAX_CACHED, CACHE_SECONDS)
    return cached(cache, lock=Lock())(store.find)


def _parse(org_id: str, organisation: Mapping[str, str], profile: Mapping[str, str]) -> Profile:
    known = organisation_from_hash(org_id, organisation)
    own: dict[str, Any] = orjson.loads(profile.get("branding", "{}"))
    for name in {"light", "dark"} & own.keys():
        own[name] = Palette(**own[name])
    version = int(organisation.get("version", "0"))
    branding = Branding(
        display_name=known.name,
        language=known.language,
        languages=known.languages,
        link_hosts=known.link_hosts,
        logo=_parse_logo(profile["logo"]) if "logo" in profile else None,
        version=version,
        is_set="branding" in profile,
        **own,
    )
    texts = {
        name.removeprefix(TEXT): _parse_text(name.removeprefix(TEXT), value)
        for name, value in profile.items()
        if name.startswith(TEXT)
    }
    number = f"{version}.{profile.get('texts', '0')}"
    return Profile(org_id, branding, texts, number, known.sender)


def _parse_text(language: str, value: str) -> TextVersion:
    version, _, sentences = value.partition(" ")
    return TextVersion(language, int(version), orjson.loads(sentences))


def _parse_change(entry: Sequence[Any]) -> TextVersion:
    version, language, sentences, by, reason, at_ms = entry
    found = orjson.loads(sentences or "{}")
    return TextVersion(language, int(version), found, by, reason, moment(at_ms))


def _write_logo(logo: Logo | None) -> str:
    if logo is None:
        return ""
    return f"{logo.media_type} {logo.width} {logo.height} {base64.b64encode(logo.content).decode()}"


def _parse_logo(text: str) -> Logo:
    media_type, width, height, content = text.split(" ")
    return Logo(media_type, base64.b64decode(content), int(width), int(height))

"""Change branding and texts of organisations, for the API and the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from shared.errors import NotFoundError, ProfileError
from shared.organisations.profile import Branding, Logo, Profile, TextVersion
from shared.organisations.texts import check_language, check_texts, replaceable
from web.admin.actions import AuditReason
from web.services import WebServices

DEFAULTS = {each.name: each.default for each in fields(Branding)}
KEPT = ("display_name", "logo", "version", "is_set")  # where a whole branding is put without


def find_profile(services: WebServices, org_id: str) -> Profile:
    """Return the profile of an organisation.

    Raises:
        NotFoundError: there is no such organisation.
    """
    found = services.profiles.find(org_id)
    if found is None:
        raise NotFoundError("there is no organisation with that id")
    return found


def change_branding(
    services: WebServices,
    profile: Profile,
    given: Mapping[str, Any],
    why: AuditReason,
    *,
    is_whole: bool = False,
) -> None:
    """Change what is given, as BrandingRequestSchema read it; None is a field's default.

    `is_whole`: what is not given goes back to its default too, but the name and the logo.

    Raises:
        ProfileError: the default language is not allowed.
        VersionConflictError: the branding was changed since the profile was read.
    """
    changes: dict[str, Any] = {
        name: given.get(name) or default
        for name, default in DEFAULTS.items()
        if name in given or (is_whole and name not in KEPT)
    }
    for name in {"languages", "link_hosts"} & changes.keys():
        changes[name] = tuple(dict.fromkeys(changes[name]))
    branding = replace(profile.branding, **changes)
    default, allowed = branding.language, branding.languages
    if default and allowed and default not in allowed:
        raise ProfileError(f"language: the default {default} is not among the allowed languages")
    with services.audit.acting(why.act("organisation.branding", profile.org_id)):
        services.profiles.save_branding(profile.org_id, branding, version=profile.branding.version)


def change_logo(
    services: WebServices, profile: Profile, logo: Logo | None, why: AuditReason
) -> None:
    """Replace the logo, or remove it.

    Raises:
        VersionConflictError: the branding was changed since the profile was read.
    """
    branding = replace(profile.branding, logo=logo)
    with services.audit.acting(why.act("organisation.logo", profile.org_id)):
        services.profiles.save_branding(
            profile.org_id, branding, version=branding.version, is_logo_new=True
        )


def find_text(services: WebServices, profile: Profile, language: str) -> TextVersion:
    """Return an organisation's texts in a language; version 0: it has none.

    Raises:
        ProfileError: the language is not supported.
    """
    try:
        check_language(language, services.languages)
    except ValueError as error:
        raise ProfileError(f"language: {error}") from None
    return profile.texts.get(language) or TextVersion(language, 0, {})


def check_sentences(
    services: WebServices, profile: Profile, language: str, sentences: Mapping[str, str]
) -> None:
    """Raise ProfileError unless all sentences may be used; it names those that may not."""
    find_text(services, profile, language)  # refuses a language that is not supported
    check_texts(
        sentences,
        language,
        organisation=profile.branding.display_name,
        languages=services.languages,
        settings=services.settings,
    )


def change_texts(
    services: WebServices,
    profile: Profile,
    language: str,
    sentences: Mapping[str, str],
    why: AuditReason,
    *,
    action: str = "organisation.texts",
) -> int:
    """Replace all of an organisation's sentences in a language; return the new version.

    Without sentences the built-in ones are in force again.

    Raises:
        ProfileError: it names each sentence that may not be used.
        VersionConflictError: the texts were changed since the profile was read.
    """
    check_sentences(services, profile, language, sentences)
    target = f"{profile.org_id} {language}"
    with services.audit.acting(why.act(action, target)) as ending:
        version = services.profiles.save_text(
            profile.org_id,
            language,
            sentences,
            version=find_text(services, profile, language).version,
            by=why.by,
            reason=why.reason,
        )
        ending["target"] = f"{target} version {version}"
    return version


def built_in(services: WebServices, language: str) -> dict[str, str]:
    """Return the built-in sentences that may be replaced."""
    sentences = services.languages.sentences(language)
    return {key: sentences[key].text for key in replaceable(services.languages)}


def find_version(services: WebServices, profile: Profile, version: int) -> TextVersion:
    """Return an earlier version of an organisation's texts.

    Raises:
        ProfileError: it is not among the last ones.
    """
    for text in services.profiles.history(profile.org_id):
        if text.version == version:
            return text
    raise ProfileError(f"version: {version} is not among the last versions of these texts")

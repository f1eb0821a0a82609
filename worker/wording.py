"""What stands in a message: greeting, link, moment, who writes; the same for one and for many."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from shared.languages import spell_moment, spell_time
from shared.links import default_link, expand_template, short_link
from shared.models import Channel
from worker.names import clean_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from shared.codes import Code
    from shared.languages import Languages
    from shared.models import Organisation, Reset, User
    from shared.settings import Settings


class Wording:
    """Words for resets and people; any number of threads may share it."""

    def __init__(self, settings: Settings, languages: Languages) -> None:
        """`languages` holds the sentences."""
        self._settings, self._languages = settings, languages
        self._says = {tag: partial(languages.say, tag) for tag in languages.tags}
        self._domain = settings.email_from.rpartition("@")[2].encode("idna").decode()

    def language(self, reset: Reset) -> str:
        """The one of our languages in which a message is written."""
        return self._languages.choose(reset.language)

    def say(self, language: str) -> Callable[..., str]:
        """The sentences of a language: `say("de")("mail.automatic")`."""
        return self._says[language]

    def greeting(self, language: str, user: User) -> str:
        """The first line, with the name where there is one to use."""
        name = clean_name(user.display_name)
        say = self._says[language]
        return say("mail.greeting", name=name) if name else say("mail.greeting_plain")

    def name_of(self, organisation: Organisation | None) -> str:
        """Who is writing: the organisation, else the sender."""
        name = clean_name(organisation.name) if organisation else None
        return name or self._settings.email_from_name

    def moment(self, language: str, at: datetime) -> str:
        """A moment for a mail."""
        return spell_moment(language, at, self._settings.time_zone)

    def time(self, language: str, at: datetime) -> str:
        """A moment for an SMS."""
        return spell_time(language, at, self._settings.time_zone)

    def link(self, reset: Reset, code: Code, language: str) -> str:
        """The address that carries the code."""
        user_id, org_id = reset.user_id, reset.org_id
        if reset.url_template is not None:
            return expand_template(reset.url_template, user_id=user_id, code=code, org_id=org_id)
        base = self._settings.link_base
        if reset.channel is Channel.SMS:
            return short_link(base, reset_id=reset.reset_id, code=code)
        return default_link(base, user_id=user_id, code=code, org_id=org_id, language=language)

    def message_id(self, reset_id: str) -> str:
        """A mail's Message-ID: the same on every attempt."""
        return f"<{reset_id}@{self._domain}>"

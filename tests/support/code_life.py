"""A caller, a worker and a person: resets from the call to the used code, in one process."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from shared.directories.passwords import Argon2Hasher
from shared.models import Channel
from tests.support.builders import PUBLIC_URL, a_token, a_user
from tests.support.delivery_services import DeliveryServices, ScriptedProvider
from tests.support.pages import NO_DELAY, PATH, see
from tests.support.store_builders import Stores
from tests.support.wire_v2 import GOOD, WireV2
from web.pages.routes import UNIFORM_DELAY

EMAIL, SMS = Channel.EMAIL, Channel.SMS
REFUSED = (400, 9, "COMMAND-2M9fs")  # as a used code


class Life(WireV2):
    """A caller, a worker, and the person with the message."""

    def __init__(self, client, *answers, **settings):
        super().__init__(client, **({"sms_countries": ("CH",)} | settings))
        self.app.extensions[UNIFORM_DELAY] = NO_DELAY
        services = self.services
        services.directory._hasher = Argon2Hasher(memory_kib=64, passes=1)
        own = (services.digests, services.resets, services.code_store, services.dues)
        self.providers = {c: ScriptedProvider(*answers, name=f"p-{c}", channel=c) for c in Channel}
        self.worker = DeliveryServices(
            services,
            Stores(client, *own, services.counters),
            {channel: [provider] for channel, provider in self.providers.items()},
        )

    def change(self, *changes):
        for fields in changes:
            a_user(self.services, **fields)

    def ask(self, channel=EMAIL):
        response = self.reset(body={"type": f"TYPE_{channel.value.upper()}"})
        assert response.status_code == 200
        return response.headers["Keyturn-Reset-Id"]

    def send(self, channel=EMAIL):
        """The text of a message that went out."""
        assert self.worker.deliver(self.ask(channel)) == "accepted"
        return self.text(channel)

    def text(self, channel=EMAIL):
        message = self.providers[channel].messages[-1]
        return message.body if channel is SMS else message.text

    def recipients(self, channel=EMAIL):
        return [each.recipient.address for each in self.providers[channel].messages]

    def by_page(self, text):
        """Open the link and post its form; the status."""
        found = re.search(re.escape(PUBLIC_URL) + r"\S+", text).group().rstrip(".")
        parts, browser = urlsplit(found), self.app.test_client()
        form = see(browser.get(f"{parts.path}?{parts.query}")).forms[0]
        return browser.post(PATH, data=form | {"password": GOOD, "passwordConfirm": GOOD})

    def by_api(self, text):
        """Type the code into SetPassword, by a token that sees every organisation."""
        code = re.search(r"\b[2-9A-Z]{4}-[2-9A-Z]{4}\b", text).group()
        return self.set_password(code=code, token=a_token(self.services, instance=("IAM_OWNER",)))

    def look(self, reset_id):
        return self.services.resets.find(reset_id)

    def code(self, reset_id):
        reset = self.look(reset_id)
        return self.services.codes.code(reset_id, reset.key_id).characters

    def explain(self, reset_id):
        told = self.call(
            f"/keyturn/v1/resets/{reset_id}/explanation", method="GET", headers=self.headers()
        )
        return told.get_json()["verdict"]

    def void(self, reset_id, token=None, **body):
        body = {"reason": "a stolen phone"} | body
        path = f"/keyturn/v1/resets/{reset_id}/_void"
        return self.call(path, json=body, headers=self.headers(token))

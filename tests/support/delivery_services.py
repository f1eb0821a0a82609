"""A worker's delivery over real stores, the real renderer and providers that obey."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from shared.languages import Languages
from shared.messages.rendering import MessageRenderer
from shared.models import Channel, Receipt
from shared.settings import Settings
from shared.wiring import Services
from tests.support.builders import a_user, an_organisation, some_services
from tests.support.store_builders import Stores
from worker.bulk.delivery import BulkDelivery
from worker.bulk.messages import BulkMessageRenderer
from worker.delivery import Delivery

TAKEN = Receipt("m1")


class ScriptedProvider:
    """Answers each message with the next of its answers; the last one repeats."""

    def __init__(self, *answers: Any, name: str = "p1", channel: Channel = Channel.EMAIL) -> None:
        """An answer is a receipt, an error to raise, or something to call for one."""
        self.name, self.channel = name, channel
        self.answers = list(answers or [TAKEN])
        self.messages: list[Any] = []

    def send(self, message):
        self.messages.append(message)
        return _give(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])


class AskableProvider(ScriptedProvider):
    """One that can be asked whether it has a message; `found` is its answer."""

    def __init__(self, *answers: Any, found: Any, **fields: Any) -> None:
        super().__init__(*answers, **fields)
        self.found = found
        self.asked: list[Any] = []

    def find(self, message):
        self.asked.append(message)
        return _give(self.found)


def _give(answer):
    if isinstance(answer, Callable):
        answer = answer()
    if isinstance(answer, BaseException):
        raise answer
    return answer


@cache
def a_renderer(settings: Settings) -> MessageRenderer:
    return MessageRenderer(settings, Languages())


@cache
def a_bulk_renderer(settings: Settings) -> BulkMessageRenderer:
    return BulkMessageRenderer(settings, Languages())


@dataclass(frozen=True)
class DeliveryServices:
    """What a test of deliveries holds in its hands."""

    services: Services
    stores: Stores
    providers: dict[Channel, list[Any]]
    renderer: Any = None

    @property
    def delivery(self) -> Delivery:
        renderer = self.renderer or a_renderer(self.services.settings)
        return Delivery(self.services, self.providers, renderer)

    def bulk_delivery(self, renderer: Any = None) -> BulkDelivery:
        one = self.delivery
        renderer = renderer or a_bulk_renderer(self.services.settings)
        return BulkDelivery(self.services, one, renderer)

    def with_services(self, **parts: Any) -> DeliveryServices:
        return replace(self, services=replace(self.services, **parts))

    def record(self, user_id="ada", **fields):
        return self.stores.record(user_id, key_id=self.services.codes.signing_key_id, **fields)

    def deliver(self, reset_id):
        """One task, as a hint would bring it."""
        return self.delivery.deliver(reset_id)

    def again(self, reset_id):
        """The next look, without waiting for it."""
        self.stores.make_due(reset_id)
        return self.deliver(reset_id)

    def look(self, reset_id):
        return self.services.resets.find(reset_id)

    def wait_seconds(self, reset_id):
        """How long until the next look."""
        return (self.stores.due_at(reset_id) - self.stores.now_ms()) / 1000

    def outcomes(self, reset_id):
        return [attempt.outcome for attempt in self.look(reset_id).attempts]

    def carriers(self, reset_id):
        return [attempt.provider for attempt in self.look(reset_id).attempts]

    def change_user(self, **fields):
        a_user(self.services, **fields)


def some_delivery_services(client, *providers, renderer=None, **settings):
    """A worker with the user ada; `providers` of any channel, else one that takes everything."""
    services = some_services(client, **settings)
    an_organisation(services)
    a_user(services)
    stores = Stores(
        client,
        services.digests,
        services.resets,
        services.code_store,
        services.dues,
        services.counters,
    )
    wanted = providers or (ScriptedProvider(), ScriptedProvider(channel=Channel.SMS))
    by_channel = {c: [p for p in wanted if p.channel is c] for c in Channel}
    return DeliveryServices(services, stores, by_channel, renderer)

"""The web application as a server process loads it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from shared.log import set_up_logging
from shared.queue import HintPublisher, make_celery
from shared.settings import PREFIX, load_settings
from shared.tracing import set_up_tracing
from shared.wiring import build_services, check_keys, connect_store
from web import create_app
from web.bodies import BodyReaders, bodies_that_end

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


def build_app() -> WSGIApplication:
    """The application of this process's environment.

    The settings leave the environment: granian copies it into every request, secrets and all.

    Raises:
        SettingsError: a setting is wrong.
    """
    settings = load_settings(os.environ)
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]
    set_up_logging(settings.log_level, service="web")
    set_up_tracing("web", os.environ)
    os.environ.pop("OTEL_EXPORTER_OTLP_HEADERS", None)  # may hold a key, and was read
    hints = HintPublisher(make_celery(settings))
    services = build_services(settings, client=connect_store(settings), hints=hints)
    check_keys(services)
    readers = BodyReaders(most_slow=max(1, settings.web_threads // 2))
    return bodies_that_end(create_app(services), readers=readers)

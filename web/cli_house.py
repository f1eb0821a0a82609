"""The services as commands use them: the same settings as a running `up`, hints included."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from shared.log import set_up_logging
from shared.queue import HintPublisher, make_celery
from shared.settings import load_settings
from shared.wiring import build_services, check_server, connect_store
from web.house import House, open_house


@contextmanager
def house() -> Iterator[House]:
    """The house; on leaving, its hints are published."""
    settings = load_settings(os.environ)
    set_up_logging("warning", service="keyturn", stream=sys.stderr)
    check_server(settings)
    hints = HintPublisher(make_celery(settings))
    services = build_services(settings, client=connect_store(settings), hints=hints)
    try:
        yield open_house(services)
    finally:
        hints.close()

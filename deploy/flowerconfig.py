"""Flower's options: what an operator sees of the queues, and nothing to press.

`celery --app web.up.flower flower --conf=deploy/flowerconfig.py` reads this file; every name below
is an option of Flower. It listens where KEYTURN_HOST and KEYTURN_FLOWER_PORT say, beyond this
machine only with a login that was set, KEYTURN_FLOWER_BASIC_AUTH. Without one it asks for that of
the file flower_login in the data directory. How to read it: docs/flower.md.
"""

import hashlib
import os
import secrets
from copy import copy
from typing import Any

from flower.urls import handlers, settings
from flower.views import BaseHandler
from tornado.routing import Rule

from shared.models import Queue
from shared.settings import WITHOUT_BROKER, load_settings
from web.up.demo import read_logins
from web.up.flower import AmendedFiles, RefusalHandler, RefusedRequests, app

_settings = load_settings(os.environ)
if not _settings.broker_kind.has_events:  # nothing to see there, and each start would leave queues
    app.conf.broker_url = WITHOUT_BROKER

address = _settings.flower_host
port = _settings.flower_port
# With a login Flower itself allows no other origin to read (CORS).
basic_auth = read_logins(_settings)
handlers.insert(0, Rule(RefusedRequests(_settings, basic_auth), RefusalHandler))
AmendedFiles.console = f"{_settings.link_base}/console"
settings["static_handler_class"] = AmendedFiles
# Every queue, before any worker was asked which it serves: the page Broker waits for no answer.
BaseHandler.get_active_queue_names = lambda _: [queue.value for queue in Queue]
inspect_timeout = 5000.0  # ms; a worker that sends answers late
read_only = True
# Stable over restarts and different everywhere; Flower's own default is public.
cookie_secret = hashlib.blake2b(
    (_settings.secret_keys[0] if _settings.secret_keys else secrets.token_hex(32)).encode(),
    person=b"keyturn flower",
).hexdigest()
tasks_columns = "name,args,state,result,received,runtime,worker,uuid"
natural_time = False
max_tasks = 10_000
purge_offline_workers = 60
# Tasks survive a restart and kill -9: written beside and renamed; what cannot be read is set aside.
persistent = True
db = str(_settings.data_dir / f"flower-{port}")
state_save_interval = int(os.environ.get("FLOWER_STATE_SAVE_INTERVAL", "30000"))  # ms
logging = "error"  # workers that do not answer yet are no news


def format_task(task: Any) -> Any:
    """A task as the pages show it: the id alone, and the word it ended with."""
    shown = copy(task)
    shown.args = (shown.args or "").strip("(),'\"")
    shown.result = (shown.result or "").strip("'\"")
    return shown

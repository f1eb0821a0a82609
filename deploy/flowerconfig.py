"""Flower's options: what an operator sees of the queues, and nothing to press.

`celery --app worker.app flower --conf=deploy/flowerconfig.py` reads this file; every name below is
an option of Flower. It listens where KEYTURN_HOST and KEYTURN_FLOWER_PORT say. It asks nobody for a
password: put it behind something that does before it listens on more than this machine.
"""

import hashlib
import os
import secrets

from shared.setting_values import LOOPBACK
from shared.settings import load_settings

_settings = load_settings(os.environ)

address = _settings.host
if address in LOOPBACK:
    # The JSON API tells the same ids as the pages; read_only shuts whatever changes anything.
    os.environ.setdefault("FLOWER_UNAUTHENTICATED_API", "true")
port = _settings.flower_port
read_only = True
# Stable over restarts and different everywhere; Flower's own default is public.
cookie_secret = hashlib.blake2b(
    (_settings.secret_keys[0] if _settings.secret_keys else secrets.token_hex(32)).encode(),
    person=b"keyturn flower",
).hexdigest()
tasks_columns = "name,uuid,args,state,received,runtime,worker"  # the arguments are ids
natural_time = False
max_tasks = 10_000
purge_offline_workers = 60
persistent = False
logging = "error"  # workers that do not answer yet are no news

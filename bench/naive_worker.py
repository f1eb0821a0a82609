"""The other sides of a worker: `celery --app bench.naive_worker`; a queue for each task.

naive: reads a hash, renders two parts with one Jinja environment, sends with SendGrid's client.
pooled: the same with a pool of kept-alive connections.
limit: Celery's empty task and one bare kept-alive HTTPS call with a body as large as ours.
empty: Celery's empty task alone.
"""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime

import redis
import requests
from celery import Celery
from sendgrid import SendGridAPIClient

from bench.sending import MAIL, bare
from shared.languages import Languages
from shared.messages.rendering import TEMPLATES, MailTemplate, Wording, make_environment
from shared.providers.sendgrid import PATH, build_payload
from shared.queue import CELERY_CONFIGURATION
from shared.settings import load_settings

settings = load_settings(os.environ)
app = Celery("peers", broker=settings.hint_url)
app.conf.update(CELERY_CONFIGURATION, worker_send_task_events=False)
client = redis.Redis.from_url(settings.server_url, decode_responses=True)
official = SendGridAPIClient(settings.sendgrid_api_key, host=settings.sendgrid_api_url)
pool = requests.Session()
pool.trust_env, pool.verify = False, os.environ["SSL_CERT_FILE"]
pool.mount("https://", requests.adapters.HTTPAdapter(pool_maxsize=settings.worker_threads))
mail = MailTemplate.load(make_environment(TEMPLATES), "reset")
wording = Wording(settings, Languages())
SAMPLE, lines = build_payload(MAIL), threading.local()


def payload(user_id: str) -> dict[str, object]:
    user = client.hgetall(f"kt:user:{user_id}")
    values = {"code": "ABCD-EFGH-JKLM", "greeting": f"Hello {user['d']},"}
    values["moment"] = wording.moment("en", datetime.now(UTC))
    values["link"] = f"https://id.example/ui/password/reset?userId={user_id}&code=ABCDEFGHJKLM"
    values = wording.common_values("en", None, values)
    text, html = mail.text.render(values), mail.html.render(values)
    content = [{"type": "text/plain", "value": text}, {"type": "text/html", "value": html}]
    return {**SAMPLE, "content": content}


@app.task(name="naive")
def naive(user_id: str) -> None:
    official.send(payload(user_id))


@app.task(name="pooled")
def pooled(user_id: str) -> None:
    headers = {"Authorization": f"Bearer {settings.sendgrid_api_key}"}
    url = settings.sendgrid_api_url + PATH
    pool.post(url, json=payload(user_id), headers=headers, timeout=10).raise_for_status()


@app.task(name="limit")
def limit(_: str) -> None:
    if not hasattr(lines, "send"):
        lines.send = bare()
    lines.send()


@app.task(name="empty")
def empty(_: str) -> None:
    """Do nothing."""

"""Django's own PasswordResetView, its mails sent by a Celery task: `python -m bench.django_view`.

With a number as argument it makes the database, with so many users.

As `startproject` makes it, with SQLite; on the same server as ours. No limit, no idempotency.
"""

from __future__ import annotations

import os
import sys

import django
from celery import Celery
from django.conf import settings
from django.core.mail.backends.base import BaseEmailBackend
from django.core.wsgi import get_wsgi_application

from shared.settings import load_settings

QUEUE = "django"
APPS = ("admin", "auth", "contenttypes", "sessions", "messages")
MIDDLEWARE = (
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
)
celery = Celery("django", broker=load_settings(os.environ).hint_url)
celery.conf.update(task_ignore_result=True, task_default_queue=QUEUE)


@celery.task
def send_email(subject: str, text: str, sender: str, recipients: list[str]) -> None:
    """Never runs here: the queue is emptied instead."""


class CeleryBackend(BaseEmailBackend):
    """Leaves every mail to a worker."""

    def send_messages(self, mails) -> int:
        for mail in mails:
            send_email.delay(mail.subject, mail.body, mail.from_email, mail.to)
        return len(mails)


def build_django_app(_parent_pid: int):
    prepare()
    return get_wsgi_application()


def prepare() -> None:
    templates = {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }
    settings.configure(
        SECRET_KEY="bench",
        ALLOWED_HOSTS=["127.0.0.1"],
        ROOT_URLCONF="django.contrib.auth.urls",
        INSTALLED_APPS=[f"django.contrib.{name}" for name in APPS],
        MIDDLEWARE=MIDDLEWARE,
        TEMPLATES=[templates],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": os.environ["BENCH_DATABASE"],
                "CONN_MAX_AGE": None,
            }
        },
        EMAIL_BACKEND="bench.django_view.CeleryBackend",
    )
    django.setup()


def make_database(users: int) -> None:
    prepare()
    from django.contrib.auth.models import User  # noqa: PLC0415
    from django.core.management import call_command  # noqa: PLC0415

    call_command("migrate", verbosity=0)
    people = [f"u{number}" for number in range(users)]
    User.objects.bulk_create(
        User(username=each, email=f"{each}@example.com", password="?") for each in people
    )


if __name__ == "__main__":
    if sys.argv[1:]:
        make_database(int(sys.argv[1]))
    else:
        from web.__main__ import serve

        serve(load_settings(os.environ), build_django_app)

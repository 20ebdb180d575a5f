# ruff: noqa: PLC0415 - Django is set up first, and each environment has another peer
"""What is run in each project, a peer's or ours: ``project.py prepare URL`` and ``project.py save COUNT GO``."""

import json
import os
import sys
import threading
import time
from pathlib import Path

import django


def prepare(url: str) -> None:
    """Make the tables and register the receiver."""
    from django.conf import settings
    from django.core.management import call_command

    call_command("migrate", verbosity=0, run_syncdb=True)
    if settings.PEER == "django_webhook":
        from django_webhook.models import Webhook, WebhookSecret, WebhookTopic, populate_topics_from_settings

        populate_topics_from_settings()
        webhook = Webhook.objects.create(url=url)
        webhook.topics.set(WebhookTopic.objects.filter(name="shop.Order/create"))
        WebhookSecret.objects.create(webhook=webhook, token="benchmarks" * 3)
    else:
        from django.contrib.auth.models import User
        from drf_hooks.models import Hook

        Hook.objects.create(user=User.objects.create(username="acme"), event="order.created", target=url)


def save(count: int, go: Path) -> None:
    """Once the file ``go`` is there, save so many orders, one a transaction.

    Says when it began, when the last was saved, and what it burnt.
    """
    from django.apps import apps
    from django.db import connection, transaction

    order = apps.get_model("shop", "Order")
    connection.ensure_connection()
    print("ready", flush=True)
    while not go.exists():
        time.sleep(0.001)
    began, burnt = time.monotonic(), time.process_time()
    for number in range(count):
        with transaction.atomic():
            order.objects.create(number=f"2026-{number}", customer="acme", amount="99.00", note="x" * 850)
    saved = time.monotonic()
    for thread in threading.enumerate():  # drf-hooks sends in threads of this process
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join()
    print(json.dumps({"began": began, "saved": saved, "cpu": time.process_time() - burnt}))


if __name__ == "__main__":
    if os.environ.get("PEER") == "django_webhook":
        import celery_app  # noqa: F401 - before Django's apps, whose tasks belong to the application there is
    django.setup()
    prepare(sys.argv[2]) if sys.argv[1] == "prepare" else save(int(sys.argv[2]), Path(sys.argv[3]))

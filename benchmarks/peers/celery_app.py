"""The Celery application of django-webhook's project."""

import os

from celery import Celery
from celery.signals import worker_ready

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
app = Celery("peer", broker=os.environ["PEER_BROKER"])
app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True)
app.autodiscover_tasks(["django_webhook"])


@worker_ready.connect
def _say_so(**kwargs):
    print("ready", flush=True)

"""A project's Celery app, for real workers: its tasks are :mod:`~tests.sources.job_functions`."""

from datetime import timedelta

import celery
import django
from celery.schedules import schedstate, schedule
from django.conf import settings

from tests.sources import job_functions

django.setup()
app = celery.Celery("shop", broker=settings.CELERY_BROKER_URL, backend=settings.CELERY_BROKER_URL)
app.conf.update(
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=1,
    beat_schedule_filename=settings.CELERY_BEAT_FILE,
    beat_max_loop_interval=0.2,
)


class Once(schedule):
    """Fires once, when beat starts."""

    def __init__(self):
        super().__init__(timedelta(hours=1))
        self.began_at = None

    def is_due(self, last_run_at):
        self.began_at = self.began_at or last_run_at
        return schedstate(is_due=last_run_at == self.began_at, next=3600)

    def __reduce__(self):
        return Once, ()

    def __str__(self):
        return "once"


succeed = app.task(job_functions.succeed)
fail = app.task(job_functions.fail)
emits = app.task(job_functions.emits)
flaky = app.task(job_functions.flaky, autoretry_for=(RuntimeError,), default_retry_delay=0.2, max_retries=2)
hang = app.task(job_functions.hang, time_limit=3, track_started=True)
die = app.task(job_functions.die, acks_late=True, reject_on_worker_lost=True)
die_early = app.task(job_functions.die, name="tests.sources.job_functions.die_early")
hang_softly = app.task(job_functions.hang, name="tests.sources.job_functions.hang_softly", soft_time_limit=1)


@app.task(bind=True, max_retries=1, default_retry_delay=0.1)
def never(self):
    """Retry until none are left."""
    raise self.retry(exc=job_functions.NotYet("still not"))


@app.task(bind=True)
def replaced(self, word):
    """Have another task do it, under the same id."""
    return self.replace(fail.si() if word == "fail" else succeed.s(word))


@app.task
def ignored():
    """End without a result."""
    raise celery.exceptions.Ignore


@app.task(acks_late=True)
def rejected():
    """Give the message back for good."""
    raise celery.exceptions.Reject("no", requeue=False)


app.conf.beat_schedule = {"once upon a time": {"task": succeed.name, "schedule": Once()}}

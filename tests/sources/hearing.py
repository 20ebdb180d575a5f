"""Job sources switched on for a test, and django-q2's own parts run in this process, one after the other."""

import contextlib
import json
import multiprocessing
from collections.abc import Iterator
from multiprocessing import Value

from django.conf import settings
from django.test import override_settings
from django.utils import timezone
from django_q.brokers import Broker, get_broker
from django_q.conf import Conf
from django_q.models import OrmQ
from django_q.monitor import monitor
from django_q.pusher import pusher
from django_q.queues import Queue
from django_q.worker import worker

from django_relay.catalog import lookup, registry
from django_relay.models import Event
from django_relay.pipeline import upkeep
from django_relay.sources import django_q, jobs


@contextlib.contextmanager
def job_settings(**values: object) -> Iterator[None]:
    """Set ``JOBS`` and declare what it asks for, but hear no job system."""
    declared = registry.definitions()
    with registry.isolated(), override_settings(DJANGO_RELAY={**settings.DJANGO_RELAY, "JOBS": values}):
        for definition in declared:
            registry.register(definition)
        jobs.connect("tests", lambda fact: None)
        lookup.clear()
        try:
            yield
        finally:
            jobs._lost.clear()
            upkeep.CHORES.pop("lost jobs", None)
            lookup.clear()


@contextlib.contextmanager
def django_q_source(**values: object) -> Iterator[None]:
    """Hear django-q2 in this process."""
    with job_settings(**values):
        django_q.connect()
        try:
            yield
        finally:
            for signal, receiver, sender in django_q._RECEIVERS:
                signal.disconnect(receiver, sender=sender)


def told(*keys: str) -> list:
    """Return what was told in its order: the types without prefix, or with ``keys`` tuples of them and of values."""
    events = [(event, json.loads(event.payload)) for event in Event.objects.order_by("id")]
    names = [event.event_type.removeprefix("dispatch.") for event, _data in events]
    if not keys:
        return names
    return [(name, *(data.get(key) for key in keys)) for name, (_event, data) in zip(names, events, strict=True)]


class MemoryBroker(Broker):
    """A broker outside the database, which forgets what it has given out: as Redis, without a server."""

    waiting: list[str] = []

    def enqueue(self, task):
        self.waiting.append(task)

    def dequeue(self):
        return [(None, self.waiting.pop(0))] if self.waiting else None

    def queue_size(self):
        return len(self.waiting)


def work() -> None:
    """Run what is in the queue by django-q2's own pusher, worker and monitor, one task after the other."""
    broker = get_broker()
    while broker.queue_size():
        take(broker)


def take(broker: Broker | None = None, *, is_recorded: bool = True) -> None:
    """Run the next task; ``is_recorded`` says whether its monitor lives to record and acknowledge it."""
    broker = broker or get_broker()
    task_queue, result_queue, stop = Queue(), Queue(), multiprocessing.Event()
    stop.set()
    pusher(task_queue, stop, broker=broker)
    task_queue.put("STOP")
    worker(task_queue, result_queue, Value("f", -1), 30)
    result_queue.put("STOP")
    if is_recorded:
        monitor(result_queue, broker=broker)
    else:
        while result_queue.get() != "STOP":
            pass
    for queue in (task_queue, result_queue):
        queue.close()
        queue.join_thread()


def give_back() -> None:
    """Let the time pass after which the broker gives out again what nobody acknowledged."""
    OrmQ.objects.using(Conf.ORM).update(lock=timezone.now() - timezone.timedelta(seconds=1))

"""For the tests of projects that use django_relay.

They work in Django's ``TestCase``, which never commits and so never runs ``on_commit``::

    with capture_events() as events:
        invoice.pay()
    assert [event.event_type for event in events] == ["invoice.paid"]

    transport = FakeTransport()
    deliver_pending(transport=transport)
    assert transport.requests[0].headers["webhook-id"] == events[0].id
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from django.db import router
from django.utils import timezone

from django_relay import conf
from django_relay.models import Attempt, Event
from django_relay.pipeline.worker import Worker
from django_relay.transport.base import Outcome, Request

Answer = int | Exception | Callable[[Request], "int | Exception"]


class FakeTransport:
    """A transport that sends nothing: it records requests and answers as told.

    Args:
        answers: one answer for every request, or a list used up one by one (the last one repeats). A status code is
            answered; an exception stands for a connection that failed; a callable gets the request and returns either.
    """

    def __init__(self, answers: Answer | list[Answer] = 200) -> None:
        self.answers = list(answers) if isinstance(answers, list) else [answers]
        self.requests: list[Request] = []
        """Every request, in order: ``url``, ``headers``, ``body``."""
        self._outcomes: list[Outcome] = []

    @property
    def capacity(self) -> int:
        """How many requests a worker may submit at once."""
        return conf.settings.MAX_IN_FLIGHT or 64

    @property
    def in_flight(self) -> int:
        """How many requests were submitted and not collected."""
        return len(self._outcomes)

    def submit(self, request: Request) -> None:
        """Record the request and answer it."""
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if callable(answer):
            answer = answer(request)
        status_code = answer if isinstance(answer, int) else None
        self._outcomes.append(
            Outcome(
                request=request,
                started_at=timezone.now(),
                duration_ms=0,
                status_code=status_code,
                error_kind="" if status_code is not None else "connection",
                error="" if status_code is not None else str(answer),
            )
        )

    def completed(self, timeout: float) -> list[Outcome]:
        """Return the outcomes of what was submitted."""
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def wake(self) -> None:
        """Nothing ever waits here."""

    def stop(self) -> None:
        """Nothing is ever waiting to begin here."""

    def close(self) -> None:
        """Nothing is open."""


@contextmanager
def capture_events(*, using: str | None = None) -> Iterator[list[Event]]:
    """Give a list that holds, after the block, the events that were emitted in it and not rolled back."""
    events: list[Event] = []
    rows = Event.objects.using(using or router.db_for_write(Event))
    before = set(rows.values_list("pk", flat=True))
    yield events
    events.extend(event for event in rows.order_by("created_at", "pk") if event.pk not in before)


def deliver_pending(
    *,
    transport: FakeTransport | None = None,
    now: datetime | None = None,
    using: str | None = None,
) -> list[Attempt]:
    """Fan out and deliver all that is due, in this thread, and return the attempts made.

    Args:
        transport: what answers; default a :class:`FakeTransport` that answers 200.
        now: the time to pretend; give a later one to make retries due.
        using: the database alias.
    """
    using = using or router.db_for_write(Event)
    worker = Worker(
        using=using,
        transport=transport or FakeTransport(),
        clock=(lambda: now) if now else timezone.now,
    )
    made: list[str] = []
    with worker:
        while turn := worker.run_once():
            made += [item.outcome.request.id for item in turn.settled]
    return list(Attempt.objects.using(using).filter(pk__in=made).order_by("started_at", "pk"))

"""The story: all is well, the receiver breaks, its events are kept, it is mended, they are replayed."""

import contextlib
import json
import time
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path

from django.core.management import call_command
from django.db import connection, connections, transaction
from django.utils import timezone

from django_relay import conf
from django_relay.models import Attempt, Delivery, DLQEntry, Endpoint, Event, WorkerPresence
from django_relay.pipeline import dlq
from django_relay.rules import signing
from example_project.demo import audit
from example_project.demo.telling import Teller
from example_project.processes import Process
from example_project.receiver.remote import Receiver
from example_project.shop.models import Invoice

TENANT = "acme"
SABOTAGES = ("secret", "forget")
"""Ways to break the demo, so that a test can see it fail: a receiver with another secret, and one that loses events."""

_PATIENCE_SECONDS = 60.0
_LOOK_SECONDS = 0.05


class StoryFailedError(Exception):
    """The story cannot go on; says why."""


class Story:
    """Plays once.

    Args:
        tell: who writes the lines.
        folder: where the processes leave their logs; removed by others.
        sabotage: one of :data:`SABOTAGES`, or nothing.
    """

    def __init__(self, tell: Teller, folder: Path, *, sabotage: str = "") -> None:
        self.tell = tell
        self.sabotage = sabotage
        self.receiver_log = folder / "receiver.jsonl"
        self.worker_log = folder / "worker.log"
        self._expected: list[audit.Expected] = []
        self._told: set[str] = set()

    def play(self) -> list[str]:
        """Play to the end and return what went wrong: nothing, if all is as promised."""
        try:
            with self._company():
                self._all_is_well()
                self._the_receiver_breaks()
                self._mended_and_replayed()
                self.tell.say("\n    Stopping the worker and the receiver …", "dim")
        except StoryFailedError as error:
            return [str(error), *self._last_words()]
        return self._compare()

    # The company

    @contextlib.contextmanager
    def _company(self) -> Iterator[None]:
        """Set up the database, the receiver, the endpoint and the worker; stop the processes at the end."""
        started = time.monotonic()
        call_command("migrate", verbosity=0, interactive=False)
        vendor = f"{connection.display_name} {'.'.join(map(str, connection.get_database_version()))}"
        self.tell.fact("database", f"{vendor}, fresh, migrated in {time.monotonic() - started:.1f} s")
        secret = signing.generate_secret()
        known = signing.generate_secret() if self.sabotage == "secret" else secret
        with contextlib.ExitStack() as processes:
            self.receiver = processes.enter_context(Receiver(self.receiver_log, secret=known))
            self.tell.fact("receiver", f"{self.receiver.url}, verifies with the package standardwebhooks")
            endpoint = Endpoint.objects.register(
                tenant_id=TENANT, url=self.receiver.url, event_types=["invoice.*"], secret=secret
            )
            self.tell.fact("endpoint", f"{endpoint.pk}: {TENANT} wants invoice.*")
            # On Linux qcluster takes its name from the environment, not from its option -n.
            cluster = {"Q_CLUSTER_NAME": str(conf.settings.Q_CLUSTER_NAME)}
            self.worker = Process("worker", "manage.py", "qcluster", output=self.worker_log, environ=cluster)
            processes.enter_context(self.worker)
            # Done first at the end: a Ctrl-C in the midst of a transaction of ours would otherwise keep SQLite locked
            # while the worker wants to finish.
            processes.callback(connections.close_all)
            self._wait_for_worker()
            yield

    def _wait_for_worker(self) -> None:
        for _look in self._looks("No worker came up"):
            if WorkerPresence.objects.alive(timezone.now()):
                break
        self.tell.fact("worker", f"django-q2 qcluster, process {self.worker.pid}")

    # The acts

    def _all_is_well(self) -> None:
        self.tell.act(1, "Three invoices are paid. Each commit carries its event; the worker delivers it.")
        if self.sabotage == "forget":
            self.receiver.tell(record=False)
        self._follow(self._pay(["2026-001", "2026-002", "2026-003"], answers=(200,)))
        self.receiver.tell(record=True)
        invoice = Invoice.objects.create(customer=TENANT, number="2026-004", amount=Decimal("99.00"))
        with transaction.atomic():
            invoice.pay()
            transaction.set_rollback(True)
        self.tell.happened(timezone.now(), invoice.number, "payment rolled back: there is no event", "dim")

    def _the_receiver_breaks(self) -> None:
        waits = conf.settings.RETRY_SCHEDULE
        self.receiver.tell(answer=500)
        self.tell.act(2, f"The receiver breaks: 500 to everything. {len(waits)} retries, then the dead letter queue.")
        answers = (500,) * (1 + len(waits)) + (200,)  # the last is the replay's, once the receiver is mended
        self._follow(self._pay(["2026-005", "2026-006", "2026-007"], answers=answers))

    def _mended_and_replayed(self) -> None:
        self.receiver.tell(answer=200)
        self.tell.act(3, "The receiver is mended. What stands in the dead letter queue is replayed.")
        entries = list(DLQEntry.objects.open().order_by("failed_at", "pk").select_related("event"))
        for entry in entries:
            dlq.replay(entry, actor="demo")
            self.tell.happened(timezone.now(), _number(entry.event), f"replay of {entry.pk}")
        self._follow([entry.event for entry in entries])

    def _pay(self, numbers: Iterable[str], *, answers: tuple[int, ...]) -> list[Event]:
        events = []
        for number in numbers:
            invoice = Invoice.objects.create(customer=TENANT, number=number, amount=Decimal("99.00"))
            invoice.pay()
            event = Event.objects.get(subject=f"shop.Invoice:{invoice.pk}")
            self.tell.happened(event.created_at, number, f"{event.event_type}  {event.pk}")
            self._expected.append(audit.Expected(event.pk, number, answers))
            events.append(event)
        return events

    # Telling what the worker does

    def _follow(self, events: Iterable[Event]) -> None:
        """Tell each attempt as it is recorded, until these events are settled."""
        wanted = [event.pk for event in events]
        for _look in self._looks("The events were not settled"):
            # Asked before the attempts are read, so that the last of them are among those told.
            settled = not (
                Event.objects.pending().filter(pk__in=wanted).exists()
                or Delivery.objects.pending().filter(event__in=wanted).exists()
            )
            self._tell_attempts()
            if settled:
                return

    def _tell_attempts(self) -> None:
        attempts = Attempt.objects.exclude(pk__in=self._told).select_related("delivery__event").order_by("started_at")
        for attempt in attempts:
            self._told.add(attempt.pk)
            answer = str(attempt.status_code or attempt.error_kind)
            outcome, style = _outcome(attempt)
            budget = f"attempt {attempt.number} of {attempt.delivery.max_attempts}"
            text = f"{budget}  {self.tell.styled(answer, style)}  {attempt.duration_ms:>3} ms  {outcome}"
            self.tell.happened(attempt.started_at, _number(attempt.delivery.event), text)

    def _looks(self, failure: str) -> Iterator[None]:
        """Give a moment to look, again and again, while there is hope."""
        gives_up_at = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < gives_up_at:
            if not self.worker.running:
                raise StoryFailedError(f"{failure}: the worker died.")
            yield
            time.sleep(_LOOK_SECONDS)
        raise StoryFailedError(f"{failure} within {_PATIENCE_SECONDS:.0f} s.")

    def _last_words(self) -> list[str]:
        if not self.worker_log.exists():
            return []
        return [f"worker: {line}" for line in self.worker_log.read_text().splitlines()[-15:]]

    # The end

    def _compare(self) -> list[str]:
        """Write the table and return what does not agree."""
        records = self.receiver.records()
        attempts = list(Attempt.objects.select_related("delivery").order_by("started_at"))
        events, entries = Event.objects.count(), DLQEntry.objects.all()
        delivered = Delivery.objects.filter(state=Delivery.State.DELIVERED).values("event").distinct().count()
        dead, replayed = entries.count(), entries.filter(replay_count=1).count()
        rows = [
            ("events emitted", events, ""),
            ("events delivered", delivered, len({one.id for one in records if one.answer == 200})),
            ("attempts", len(attempts), len(records)),
            ("dead-lettered", dead, ""),
            ("replayed", replayed, ""),
            ("signatures verified", "", sum(one.verified is True for one in records)),
        ]
        self.tell.table(("", "the shop", "its customer"), rows)
        sent = [audit.Sent(one.delivery.event_id, one.number, one.status_code) for one in attempts]
        found = audit.faults(self._expected, sent, records)
        broken = sum(len(event.answers) > 1 for event in self._expected)
        wanted = (len(self._expected), len(self._expected), broken, broken)
        if (events, delivered, dead, replayed) != wanted:
            found.append(f"emitted, delivered, dead-lettered and replayed should be {wanted}")
        return found


def _number(event: Event) -> str:
    return str(json.loads(event.payload)["number"])


def _outcome(attempt: Attempt) -> tuple[str, str]:
    """Return what became of the delivery after an attempt, and its style."""
    if attempt.status_code == 200:
        return "delivered", "good"
    if attempt.next_attempt_at is not None:
        wait = attempt.next_attempt_at - attempt.started_at
        return f"again in {wait.total_seconds():.1f} s", "warn"
    entry = DLQEntry.objects.filter(delivery=attempt.delivery).first()
    return f"given up: {entry.pk}" if entry else "given up", "bad"

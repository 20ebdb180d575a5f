"""Step 6: what was given up is sent again, or let go of."""

import logging
from datetime import datetime

from django.db import router, transaction
from django.utils import timezone

from django_relay import exceptions
from django_relay.models import Delivery, DLQEntry, Endpoint, Event, writing
from django_relay.pipeline import wakeup

logger = logging.getLogger(__name__)


def replay(entry: DLQEntry, *, actor: str = "", now: datetime | None = None) -> Delivery:
    """Send a DLQ entry's event to its endpoint again, with a fresh budget of attempts; return the new delivery.

    The entry is kept, with ``replayed_at``. While its endpoint is disabled the new delivery is held.

    Args:
        entry: the entry.
        actor: who asked for it; logged.
        now: default the current time.

    Raises:
        NotReplayable: a replay is under way (``already_replaying``), the entry was ``discarded``, the endpoint is
            deleted (``endpoint_deleted``), or the event or the entry is no longer stored (``event_gone``,
            ``entry_gone``).
    """
    using = entry._state.db or router.db_for_write(DLQEntry)
    delivery = _replay(entry.pk, now=now or timezone.now(), using=using)
    entry.refresh_from_db(using=using)
    _log_after_commit("dlq.replayed", entry, actor=actor, using=using, delivery_id=delivery.pk)
    return delivery


def discard(entry: DLQEntry, *, actor: str = "", now: datetime | None = None) -> bool:
    """Let go of a DLQ entry: it stays readable, counts no more as open, and cannot be replayed.

    Returns whether it was open or replayed before, and not already discarded.
    """
    using = entry._state.db or router.db_for_write(DLQEntry)
    now = now or timezone.now()
    rows = DLQEntry.objects.using(using).filter(pk=entry.pk, discarded_at__isnull=True)
    changed = rows.update(discarded_at=now, updated_at=now)
    entry.refresh_from_db(using=using)
    if changed:
        _log_after_commit("dlq.discarded", entry, actor=actor, using=using)
    return bool(changed)


def _log_after_commit(fact: str, entry: DLQEntry, *, actor: str, using: str, **facts: str) -> None:
    extra = {"event": fact, "dlq_entry_id": entry.pk, "actor": actor, **facts}
    transaction.on_commit(lambda: logger.info("%s %s", fact, entry.pk, extra=extra), using=using, robust=True)


@writing.in_transaction
def _replay(entry_id: str, *, now: datetime, using: str) -> Delivery:
    entry = DLQEntry.objects.using(using).select_for_update().filter(pk=entry_id).first()
    if entry is None:
        raise exceptions.NotReplayable("The DLQ entry is no longer stored.", code="entry_gone")
    if entry.discarded_at is not None:
        raise exceptions.NotReplayable("The DLQ entry was discarded.", code="discarded")
    endpoint = Endpoint.objects.using(using).filter(pk=entry.endpoint_id, deleted_at__isnull=True).first()
    if endpoint is None:
        raise exceptions.NotReplayable("The endpoint was deleted.", code="endpoint_deleted")
    if not Event.objects.using(using).filter(pk=entry.event_id).exists():
        raise exceptions.NotReplayable("The event is no longer stored.", code="event_gone")
    delivery = Delivery.of(entry.event_id, endpoint, now=now, replay_of_id=entry.delivery_id)
    if not writing.insert_new([delivery], using=using):
        raise exceptions.NotReplayable(
            "A replay of this entry is under way; wait until it is settled.",
            code="already_replaying",
        )
    entry.replayed_at = now
    entry.replay_count += 1
    entry.save(update_fields=["replayed_at", "replay_count", "updated_at"])
    writing.after_commit(wakeup.wake, using, using=using)
    return delivery

"""One delivery, as its owner or staff ask: attempt it now, or not at all."""

import logging
from datetime import datetime

from django.db import router, transaction
from django.utils import timezone

from django_relay import exceptions
from django_relay.models import Delivery, DLQEntry, Endpoint, Event, writing
from django_relay.models.delivery import NO_LEASE
from django_relay.pipeline import dlq, wakeup

logger = logging.getLogger(__name__)


def retry(delivery: Delivery, *, actor: str = "", now: datetime | None = None) -> Delivery:
    """Send a delivery now; return the delivery that does it.

    One that is pending becomes due, with the attempts it has left. One that is settled is sent again as a new delivery
    with a fresh budget: a failed one by its DLQ entry, as :func:`dlq.replay` does. While its endpoint is disabled it is
    held.

    Args:
        delivery: the delivery.
        actor: who asked for it; logged.
        now: default the current time.

    Raises:
        WrongState: ``in_flight``, it is being attempted right now.
        NotReplayable: ``already_replaying``, ``discarded``, ``endpoint_deleted``, ``event_gone``, ``delivery_gone``;
            ``test_event``, a test is not sent again.
    """
    using = delivery._state.db or router.db_for_write(Delivery)
    entry = DLQEntry.objects.using(using).filter(delivery_id=delivery.pk).first()
    if entry is not None:
        return dlq.replay(entry, actor=actor, now=now)
    sent = _retry(delivery.pk, now=now or timezone.now(), using=using)
    delivery.refresh_from_db(using=using)
    _log_after_commit("delivery.retried", delivery, actor=actor, using=using, sent_id=sent.pk)
    return sent


def cancel(delivery: Delivery, *, actor: str = "", now: datetime | None = None) -> Delivery:
    """End a pending delivery: it is attempted no more. Returns it as it is now.

    Raises:
        WrongState: ``in_flight``, it is being attempted right now, and may still succeed; ``not_pending``, it is
            settled; ``delivery_gone``.
    """
    using = delivery._state.db or router.db_for_write(Delivery)
    now = now or timezone.now()
    rows = Delivery.objects.using(using)
    changed = rows.unleased(now).filter(pk=delivery.pk).update(
        state=Delivery.State.CANCELLED, completed_at=now, updated_at=now, **NO_LEASE
    )  # fmt: skip
    found = rows.filter(pk=delivery.pk).first()
    if found is None:
        raise exceptions.WrongState("The delivery is no longer stored.", code="delivery_gone")
    delivery.refresh_from_db(using=using)
    if not changed:
        raise (
            _in_flight()
            if found.state == Delivery.State.PENDING
            else exceptions.WrongState(
                f"The delivery is {found.state} already; only a pending one can be cancelled.", code="not_pending"
            )
        )
    _log_after_commit("delivery.cancelled", delivery, actor=actor, using=using)
    return delivery


@writing.in_transaction
def _retry(delivery_id: str, *, now: datetime, using: str) -> Delivery:
    delivery = Delivery.objects.using(using).select_for_update().filter(pk=delivery_id).first()
    if delivery is None:
        raise exceptions.NotReplayable("The delivery is no longer stored.", code="delivery_gone")
    endpoint = Endpoint.objects.using(using).filter(pk=delivery.endpoint_id, deleted_at__isnull=True).first()
    if endpoint is None:
        raise exceptions.NotReplayable("The endpoint was deleted.", code="endpoint_deleted")
    writing.after_commit(wakeup.wake, using, using=using)
    if delivery.state == Delivery.State.PENDING:
        if delivery.leased_until is not None and delivery.leased_until > now:
            raise _in_flight()
        delivery.next_attempt_at = delivery.updated_at = now
        delivery.save(using=using, update_fields=["next_attempt_at", "updated_at"])
        return delivery
    event = Event.objects.using(using).filter(pk=delivery.event_id).first()
    if event is None:
        raise exceptions.NotReplayable("The event is no longer stored.", code="event_gone")
    if event.only_endpoint_id is not None:
        raise exceptions.NotReplayable("A test is not sent again; send a new one.", code="test_event")
    repeated = Delivery.of(event.pk, endpoint, now=now, replay_of_id=delivery.pk)
    if not writing.insert_new([repeated], using=using):
        raise exceptions.NotReplayable(
            "A replay of this delivery is under way; wait until it is settled.", code="already_replaying"
        )
    return repeated


def _in_flight() -> exceptions.WrongState:
    return exceptions.WrongState(
        "The delivery is being attempted right now; ask again when that has come to an end.", code="in_flight"
    )


def _log_after_commit(fact: str, delivery: Delivery, *, actor: str, using: str, **facts: str) -> None:
    extra = {"event": fact, "delivery_id": delivery.pk, "tenant_id": delivery.tenant_id, "actor": actor, **facts}
    transaction.on_commit(lambda: logger.info("%s %s", fact, delivery.pk, extra=extra), using=using, robust=True)

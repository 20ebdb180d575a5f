"""Worker presences: who works now, so that ``emit`` need not ask a broker and passes do not multiply."""

from datetime import datetime, timedelta
from typing import Self

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_relay.fields import PrefixedIdField
from django_relay.models import machine

ALIVE_SECONDS = 6.0
"""A worker that was not seen for longer is taken for dead."""


class WorkerPresenceQuerySet(models.QuerySet["WorkerPresence"]):
    """Presences by freshness."""

    def alive(self, now: datetime) -> list["WorkerPresence"]:
        """Return the workers that claim work now, not counting processes of this machine that are gone."""
        fresh = self.working().filter(seen_at__gt=now - timedelta(seconds=ALIVE_SECONDS))
        return [presence for presence in fresh if not machine.is_gone(presence.hostname, presence.pid)]

    def working(self) -> Self:
        """Presences of workers that said they claim work."""
        return self.filter(state=WorkerPresence.State.WORKING)

    def queued(self) -> Self:
        """Presences of workers that are asked for and have not begun."""
        return self.filter(state=WorkerPresence.State.QUEUED)

    def stale(self, now: datetime) -> Self:
        """Presences nobody will ever update again."""
        return self.filter(seen_at__lt=now - timedelta(minutes=10))


class WorkerPresence(models.Model):
    """One worker loop, from when it is asked for until it has ended."""

    class State(models.TextChoices):
        """``queued`` (django-q2 passes only) → ``working`` → ``finishing`` what it has in hand."""

        QUEUED = "queued", _("queued")
        WORKING = "working", _("working")
        FINISHING = "finishing", _("finishing")

    id = PrefixedIdField("wrk_", primary_key=True)
    runner = models.CharField(_("runner"), max_length=32)
    state = models.CharField(_("state"), max_length=16, choices=State.choices)
    hostname = models.CharField(_("host name"), max_length=255, blank=True)
    pid = models.PositiveIntegerField(_("process id"), null=True, blank=True)
    in_flight = models.PositiveIntegerField(_("in flight"), default=0)
    started_at = models.DateTimeField(_("started at"), default=timezone.now)
    seen_at = models.DateTimeField(_("seen at"))

    objects = WorkerPresenceQuerySet.as_manager()

    class Meta:
        verbose_name = _("worker")
        verbose_name_plural = _("workers")

    def __str__(self) -> str:
        return f"{self.runner} {self.hostname}:{self.pid}"

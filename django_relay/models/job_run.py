"""Job runs: which background jobs run or ran, so that lost ones are noticed and nothing is told of one twice."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_relay.fields import PrefixedIdField
from django_relay.models import machine


class JobRunQuerySet(models.QuerySet["JobRun"]):
    """Job runs by state, and the guarded ways out of each."""

    def of(self, source: str, job_id: str) -> Self:
        """Return the run of one job: at most one."""
        return self.filter(source=source, job_id=job_id)

    def running(self) -> Self:
        """Return runs whose end nobody has told."""
        return self.filter(state=JobRun.State.RUNNING)

    def untouched_since(self, moment: datetime) -> Self:
        """Return runs of which nothing was heard since ``moment``."""
        return self.filter(updated_at__lt=moment)

    def end(self, state: "JobRun.State", attempt: int, *, facts: Mapping[str, Any]) -> bool:
        """Let an attempt end as ``state``, and return whether that may be told: it contradicts nothing told before.

        A job completes once, whichever attempt does it, but not by an attempt that was given up. What a newer attempt
        has replaced fails no more, and only what runs can be waiting to be run again.
        """
        if state == JobRun.State.COMPLETED:
            may = self.exclude(state=state).exclude(state=JobRun.State.FAILED, attempt=attempt)
        elif state == JobRun.State.FAILED:
            may = self.exclude(state__in=[JobRun.State.COMPLETED, state]).filter(attempt=attempt)
        else:
            may = self.running().filter(attempt=attempt)
        return bool(may.update(state=state, facts=facts, updated_at=timezone.now()))


class JobRun(models.Model):
    """One background job that began to run, or is to be known when it does, until retention.

    ``facts`` is what its events are made of, as JSON.
    """

    class State(models.TextChoices):
        """(``enqueued`` →) ``running`` → ``retrying`` → ``running`` … → ``completed`` or ``failed``.

        From ``failed`` it may run again.
        """

        ENQUEUED = "enqueued", _("enqueued")
        RUNNING = "running", _("running")
        RETRYING = "retrying", _("retrying")
        COMPLETED = "completed", _("completed")
        FAILED = "failed", _("failed")

    id = PrefixedIdField("job_", primary_key=True)
    source = models.CharField(_("source"), max_length=32)
    job_id = models.CharField(_("job"), max_length=255)
    attempt = models.PositiveIntegerField(_("attempt"), default=1)
    state = models.CharField(_("state"), max_length=16, choices=State.choices, default=State.RUNNING)
    hostname = models.CharField(_("host name"), max_length=255, blank=True)
    pid = models.PositiveIntegerField(_("process id"), null=True, blank=True)
    lost_at = models.DateTimeField(_("lost at"), null=True, blank=True)
    facts = models.JSONField(_("facts"), default=dict)
    created_at = models.DateTimeField(_("created at"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("updated at"), default=timezone.now)

    objects = JobRunQuerySet.as_manager()

    class Meta:
        verbose_name = _("job run")
        verbose_name_plural = _("job runs")
        indexes = [
            models.Index(fields=["source"], condition=models.Q(state="running"), name="relay_job_run_running"),
            models.Index(fields=["updated_at"], name="relay_job_run_age"),
        ]
        constraints = [models.UniqueConstraint(fields=["source", "job_id"], name="relay_job_run_once_per_job")]

    def __str__(self) -> str:
        return f"{self.source} {self.job_id}"

    def is_lost(self, now: datetime) -> bool:
        """Return whether its process is gone from this machine, or its time is over, wherever it ran."""
        is_over = self.lost_at is not None and self.lost_at < now
        return is_over or machine.is_gone(self.hostname, self.pid)

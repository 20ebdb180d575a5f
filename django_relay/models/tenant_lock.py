"""Tenant locks: one row a tenant, locked while something of the tenant is counted that has a limit.

Counting alone lets concurrent creates past any limit. Locking the application's row would make all of its tenants wait
for a host's long transaction about one.
"""

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_relay.fields import PrefixedIdField
from django_relay.models import writing
from django_relay.models.application import Application


class TenantLockQuerySet(models.QuerySet["TenantLock"]):
    """Locks of tenants."""

    def take(self, application_id: str, tenant_id: str) -> None:
        """Hold the tenant's lock until the current transaction ends; wait for whoever holds it."""
        mine = self.filter(application_id=application_id, tenant_id=tenant_id)
        # On SQLite the insert comes first: it makes the transaction a writing one before anything is read.
        while not writing.insert_new(
            [self.model(application_id=application_id, tenant_id=tenant_id)], using=self.db
        ) and not list(mine.select_for_update()):
            pass  # an erasure deleted it in between


class TenantLock(models.Model):
    """A row to lock; it says nothing."""

    id = PrefixedIdField("lock_", primary_key=True)
    application = models.ForeignKey(
        Application, on_delete=models.CASCADE, related_name="+", db_index=False, verbose_name=_("application")
    )
    tenant_id = models.CharField(_("tenant"), max_length=255, blank=True)

    objects = TenantLockQuerySet.as_manager()

    class Meta:
        verbose_name = _("tenant lock")
        verbose_name_plural = _("tenant locks")
        constraints = [
            models.UniqueConstraint(fields=["application", "tenant_id"], name="relay_tenant_lock_once"),
        ]

    def __str__(self) -> str:
        return str(self.id)

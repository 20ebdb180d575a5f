"""Paces: from when on a rate-limited endpoint may be sent to again, shared by all workers."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_relay.fields import PrefixedIdField
from django_relay.models.endpoint import Endpoint


class EndpointPace(models.Model):
    """One rate-limited endpoint's place in time; ``rules.pacing`` says how it moves.

    Workers reserve their sends by moving it forward under a row lock, in the transaction that leases them.
    """

    id = PrefixedIdField("pace_", primary_key=True)
    # Without a constraint: checking one takes a lock on the endpoint, which a host's transaction may hold for long.
    endpoint = models.OneToOneField(
        Endpoint, on_delete=models.CASCADE, db_constraint=False, related_name="pace", verbose_name=_("endpoint")
    )
    next_free_at = models.DateTimeField(_("next free at"))

    class Meta:
        verbose_name = _("endpoint pace")
        verbose_name_plural = _("endpoint paces")

    def __str__(self) -> str:
        return str(self.id)

"""How it is told what became of endpoints: an operational event with the change, log line and signal after commit."""

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from django_relay import signals
from django_relay.models import operational, writing

if TYPE_CHECKING:
    from django_relay.models.endpoint import Endpoint

logger = logging.getLogger(__name__)

_WARNINGS = {"endpoint.disabled", "endpoint.failing"}
_SIGNALS = {
    "endpoint.disabled": signals.endpoint_disabled,
    "endpoint.failing": signals.endpoint_failing,
    "endpoint.recovered": signals.endpoint_recovered,
}


def tell(facts: Sequence[tuple[str, "Endpoint"]], *, now: datetime, using: str) -> None:
    """Tell facts such as ``endpoint.disabled``, each of an endpoint as it is now, in the transaction that made them.

    Stores the operational events at once; logs, and sends the signals there are, once the transaction has committed.
    """
    operational.of_endpoints(facts, now=now, using=using)
    for fact, endpoint in facts:
        writing.after_commit(_announce, fact, endpoint, using=using)


def _announce(fact: str, endpoint: "Endpoint") -> None:
    extra = {
        "event": fact,
        "endpoint_id": endpoint.pk,
        "tenant_id": endpoint.tenant_id,
        "reason": endpoint.disabled_reason,
    }
    level = logging.WARNING if fact in _WARNINGS else logging.INFO
    logger.log(level, "%s %s %s", fact, endpoint.pk, endpoint.disabled_reason, extra=extra)
    if fact in _SIGNALS:
        _SIGNALS[fact].send_robust(type(endpoint), instance=endpoint)

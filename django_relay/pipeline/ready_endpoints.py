"""The endpoints a worker has made ready for sending, kept for as long as their rows stay as they are."""

from collections import OrderedDict
from collections.abc import Mapping

from django_relay import conf
from django_relay.models import Endpoint
from django_relay.models.lease import ReadyEndpoint

_KEPT = 10_000


class ReadyEndpoints:
    """ReadyEndpoints by endpoint and version; the least recently used go first.

    A version is whatever changes with the endpoint's row, its secrets' rows or its application's; the lease reads it in
    each claim, so that nothing is ever kept past a change.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[str, ReadyEndpoint]] = OrderedDict()
        self._settings: object = None

    def get(self, versions: Mapping[str, str], *, using: str) -> dict[str, ReadyEndpoint]:
        """Return these endpoints, ready, at these versions; an empty version is read anew."""
        if self._settings is not conf.configured():
            self._settings = conf.configured()
            self._kept.clear()  # what follows from the settings is kept with them
        found: dict[str, ReadyEndpoint] = {}
        for endpoint_id, version in versions.items():
            kept = self._kept.get(endpoint_id)
            if kept is not None and version and kept[0] == version:
                self._kept.move_to_end(endpoint_id)
                found[endpoint_id] = kept[1]
        missing = versions.keys() - found.keys()
        if missing:
            rows = Endpoint.objects.using(using).filter(pk__in=missing)
            for endpoint in rows.select_related("application").prefetch_related("signing_secrets"):
                found[endpoint.pk] = ReadyEndpoint(endpoint)
                self._kept[endpoint.pk] = (versions[endpoint.pk], found[endpoint.pk])
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return found

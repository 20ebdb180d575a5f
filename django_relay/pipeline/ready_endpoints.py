"""The endpoints a worker has made ready for sending, kept for as long as their rows stay as they are."""

from collections.abc import Mapping

from django_relay import conf
from django_relay.models import Endpoint
from django_relay.models.lease import ReadyEndpoint
from django_relay.pipeline.versioned import Versioned

_KEPT = 10_000


class ReadyEndpoints:
    """ReadyEndpoints by endpoint and version.

    A version is whatever changes with the endpoint's row, its secrets' rows or its application's; the lease reads it in
    each claim.
    """

    def __init__(self) -> None:
        self._kept = Versioned[ReadyEndpoint](_KEPT)
        self._settings: object = None

    def get(self, versions: Mapping[str, str], *, using: str) -> dict[str, ReadyEndpoint]:
        """Return these endpoints, ready, at these versions; an empty version is read anew."""
        if self._settings is not conf.configured():
            self._settings = conf.configured()
            self._kept.clear()  # what follows from the settings is kept with them
        found: dict[str, ReadyEndpoint] = {}
        for endpoint_id, version in versions.items():
            if (kept := self._kept.get(endpoint_id, version)) is not None:
                found[endpoint_id] = kept
        missing = versions.keys() - found.keys()
        if missing:
            rows = Endpoint.objects.using(using).filter(pk__in=missing)
            for endpoint in rows.select_related("application").prefetch_related("signing_secrets"):
                found[endpoint.pk] = ReadyEndpoint(endpoint)
                self._kept.put(endpoint.pk, versions[endpoint.pk], found[endpoint.pk])
        return found

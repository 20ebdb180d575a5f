"""The default transport keeps what every transport promises."""

from typing import Any

from django_relay.transport.base import Transport
from django_relay.transport.requests import RequestsTransport
from tests.conformance.transport_cases import TransportCases


class TestRequestsTransport(TransportCases):
    def make_transport(self, **options: Any) -> Transport:
        return RequestsTransport(**options)

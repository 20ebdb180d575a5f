"""The setting TRANSPORT names a transport, or leaves the choice to what is installed."""

import contextlib
import sys

import pycurl
import pytest
from django.test import override_settings

from django_relay.exceptions import RelayConfigurationError
from django_relay.transport import selection
from django_relay.transport.curl import CurlTransport
from django_relay.transport.requests import RequestsTransport

CURL = "django_relay.transport.curl.CurlTransport"


def made(**settings):
    with override_settings(DJANGO_RELAY=settings), contextlib.closing(selection.make()) as transport:
        return type(transport), transport.capacity


def test_the_default():
    assert made() == (RequestsTransport, 64)


def test_a_dotted_path_and_a_capacity():
    assert made(TRANSPORT=CURL) == (CurlTransport, 512)
    assert made(TRANSPORT=CURL, MAX_IN_FLIGHT=7) == (CurlTransport, 7)
    assert made(MAX_IN_FLIGHT=7) == (RequestsTransport, 7)


def test_auto_takes_curl_where_it_is():
    assert made(TRANSPORT="auto") == (CurlTransport, 512)


def test_without_pycurl(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycurl", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert made(TRANSPORT="auto") == (RequestsTransport, 64)
    with pytest.raises(RelayConfigurationError, match=r"needs pycurl.*django-relay\[curl\]"):
        made(TRANSPORT=CURL)


def test_with_a_pycurl_that_is_broken(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycurl", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    with pytest.raises(RelayConfigurationError, match="cannot be loaded"):
        made(TRANSPORT=CURL)


def test_with_a_pycurl_that_is_too_old(monkeypatch):
    monkeypatch.delattr(pycurl, "PREREQFUNCTION")
    assert made(TRANSPORT="auto") == (RequestsTransport, 64)
    with pytest.raises(RelayConfigurationError, match=r"needs pycurl 7.49 .* or newer"):
        made(TRANSPORT=CURL)

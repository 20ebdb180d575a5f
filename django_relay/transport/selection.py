"""Which transport the setting ``TRANSPORT`` asks for."""

from collections.abc import Callable
from importlib import util

from django.utils.module_loading import import_string

from django_relay import conf
from django_relay.exceptions import RelayConfigurationError
from django_relay.transport.base import Transport

AUTO = "auto"
_REQUESTS = "django_relay.transport.requests.RequestsTransport"
_LIBCURL = 0x08_17_00
"""The oldest libcurl with which all that a transport promises was seen to hold; 8.16 breaks most of it."""
_CURL = "django_relay.transport.curl.CurlTransport"


def make() -> Transport:
    """Return a new transport of the configured kind.

    Raises:
        RelayConfigurationError: if it needs what is not installed.
        ImportError: if there is nothing at its dotted path.
    """
    return load()()


def load() -> Callable[[], Transport]:
    """Return what makes a transport of the configured kind; raises what :func:`make` does."""
    path: str = conf.settings.TRANSPORT
    if path == AUTO:
        path = _REQUESTS if _lacking() else _CURL
    if path == _CURL and (lacking := _lacking()):
        raise RelayConfigurationError(f'{lacking} Run: pip install "django-relay[curl]"')
    loaded: Callable[[], Transport] = import_string(path)
    return loaded


def _lacking() -> str:
    """Return what keeps the transport over libcurl from working, if anything does."""
    if util.find_spec("pycurl") is None:
        return "CurlTransport needs pycurl."
    try:
        import pycurl  # noqa: PLC0415 - an extra
    except ImportError as error:  # built against a libcurl that is not there
        return f"CurlTransport needs pycurl, which cannot be loaded: {error}."
    found = pycurl.version_info()
    if not hasattr(pycurl, "PREREQFUNCTION") or found[2] < _LIBCURL or not found[4] & pycurl.VERSION_SSL:
        return f"CurlTransport needs pycurl 7.49 over libcurl 8.23 with TLS, or newer; here is {pycurl.version}."
    return ""

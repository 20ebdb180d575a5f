"""What prevented an answer, as a kind and in words for staff: the same for every transport.

The kinds are those of :data:`django_relay.transport.base.ERROR_KINDS`. No words show a URL or a secret.
"""

import errno
import ssl

from django_relay.exceptions import UnsafeURL
from django_relay.transport.headers import UnusableHeader
from django_relay.transport.resolver import OUR_OWN, LookUpFailed
from django_relay.transport.responses import BadResponse, NoResponse

_CLOSED = (ssl.SSLEOFError, ssl.SSLZeroReturnError)


class TLSFailed(Exception):
    """TLS failed; says why in words, where there is no :class:`ssl.SSLError` to say it."""


def explain(error: Exception) -> tuple[str, str]:
    """Return the kind and the words of what went wrong before an exchange began."""
    if isinstance(error, UnsafeURL):
        kind = "address_not_public" if error.code == "address_not_public" else "unsafe_url"
        return kind, str(error)
    if isinstance(error, LookUpFailed):
        return error.kind, str(error)
    if isinstance(error, UnusableHeader):
        return "local_error", str(error)
    return "local_error", f"Our own side failed: {type(error).__name__}."


def explain_exchange(error: Exception, *, phase: str, is_late: bool) -> tuple[str, str]:
    """Return the kind and the words of what went wrong in an exchange.

    ``phase`` is what was under way: ``connect``, ``tls`` or ``ready``; ``is_late`` says that the deadline has passed.
    """
    if isinstance(error, MemoryError) or (
        isinstance(error, OSError) and error.errno in {*OUR_OWN, errno.EADDRNOTAVAIL}
    ):
        return "local_error", f"Our own side failed: {_words(error)}."
    if is_late or isinstance(error, TimeoutError):
        if phase == "connect":
            return "connect_timeout", "No connection was made in time."
        return "timeout", "No response came in time."
    is_tls = isinstance(error, ssl.SSLError | TLSFailed) and not isinstance(error, _CLOSED)
    if phase == "tls" or is_tls:
        return "tls", f"TLS failed: {_words(error)}."
    if isinstance(error, BadResponse):
        return "bad_response", str(error)
    if isinstance(error, NoResponse):
        return "connection", "The connection was closed before a response had come."
    if isinstance(error, OSError):
        return "connection", f"The connection failed: {_words(error)}."
    return explain(error)


def _words(error: Exception) -> str:
    if isinstance(error, NoResponse):
        return "the connection was closed"
    if isinstance(error, TLSFailed):
        return str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message.rstrip(".")
    if isinstance(error, ssl.SSLError):
        return (error.reason or "the connection was closed").replace("_", " ").lower()
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__

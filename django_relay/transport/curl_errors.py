"""What libcurl's error codes mean here. Its own words are not passed on: they show hosts."""

import os

import pycurl

from django_relay.transport import responses
from django_relay.transport.failures import TLSFailed
from django_relay.transport.responses import NoResponse

# Not all of libcurl's codes have a name in pycurl.
WEIRD_SERVER_REPLY = 8
_TOO_LARGE, _HTTP2_STREAM = 100, 92
_NOT_HTTP = frozenset({pycurl.E_UNSUPPORTED_PROTOCOL, WEIRD_SERVER_REPLY})
_NO_ANSWER = frozenset({pycurl.E_GOT_NOTHING, pycurl.E_ABORTED_BY_CALLBACK})
_BROKEN = frozenset({pycurl.E_COULDNT_CONNECT, pycurl.E_SEND_ERROR, pycurl.E_RECV_ERROR, pycurl.E_HTTP2, _HTTP2_STREAM})
_TLS = frozenset({pycurl.E_SSL_CONNECT_ERROR, pycurl.E_PEER_FAILED_VERIFICATION, pycurl.E_SSL_CIPHER})


def translate(code: int, message: str, *, number: int) -> Exception:
    """Return the exception that another transport would have met; ``number`` is the ``errno`` of the last failure."""
    if code in _TLS or ("SSL routines" in message and "unexpected eof" not in message):
        return TLSFailed(_tls_words(code, message))
    if code in _NO_ANSWER:
        return NoResponse()
    if code in _NOT_HTTP:
        return responses.no_status_line()
    if code == _TOO_LARGE:
        return responses.endless_head()
    if code in _BROKEN:
        return OSError(number, os.strerror(number)) if number else NoResponse()
    if code == pycurl.E_OPERATION_TIMEDOUT:
        return TimeoutError()
    if code == pycurl.E_OUT_OF_MEMORY:
        return MemoryError()
    return RuntimeError(f"libcurl's error {code}")


def _tls_words(code: int, message: str) -> str:
    if code == pycurl.E_PEER_FAILED_VERIFICATION:
        _, colon, words = message.partition("certificate problem: ")
        return words if colon else "the certificate is for another name"
    return message.rpartition("SSL routines:")[2].strip(":").partition(",")[0] or "the connection was closed"

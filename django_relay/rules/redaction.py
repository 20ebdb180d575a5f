"""What is kept of a request and its response: everything but the secrets."""

from collections.abc import Iterable, Mapping, Sequence

from django_relay.rules import texts

REDACTED = "[redacted]"
_SHOWN = {"webhook-id", "webhook-timestamp", "webhook-attempt", "content-type", "user-agent", "traceparent"}
"""Request headers whose values are no secret: ours, but for the signature."""
_SECRET_RESPONSE_HEADERS = {"set-cookie", "set-cookie2", "authorization", "proxy-authorization", "www-authenticate"}
_SECRET_CHARACTERS = 6  # what is shorter is no secret, and stands in any text


def of_request(headers: Mapping[str, str]) -> list[list[str]]:
    """Return a request's headers, as pairs, without its signature and the values of the endpoint's own."""
    return [[name, value if name in _SHOWN else REDACTED] for name, value in headers.items()]


def of_response(
    headers: Sequence[tuple[str, str]], body: bytes, *, request_headers: Mapping[str, str]
) -> tuple[list[list[str]], str]:
    """Return a response's headers, as pairs, and its body as storable text.

    A receiver that echoes our request must not make us keep its secrets in the clear.
    """
    if not headers and not body:
        return [], ""
    secrets = [
        value for name, value in request_headers.items() if name not in _SHOWN and len(value) >= _SECRET_CHARACTERS
    ]
    shown = []
    for name, value in headers:
        kept = REDACTED if name.lower() in _SECRET_RESPONSE_HEADERS else _without(secrets, value)
        shown.append([texts.cleaned(name), kept])
    return shown, _without(secrets, body.decode("utf-8", "replace"))


def _without(secrets: Iterable[str], text: str) -> str:
    for secret in secrets:
        text = text.replace(secret, REDACTED)
    return texts.cleaned(text)

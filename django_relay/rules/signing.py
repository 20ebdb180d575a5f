"""Signatures and secrets of Standard Webhooks 1.0.0 (https://www.standardwebhooks.com).

=======  ============  ===================  ==========================================
scheme   algorithm     secret               what the receiver holds
=======  ============  ===================  ==========================================
``v1``   HMAC-SHA256   ``whsec_`` + base64  the same secret
``v1a``  Ed25519       ``whsk_`` + base64   the public key, ``whpk_`` + base64
=======  ============  ===================  ==========================================

Signed are the bytes ``{id}.{timestamp}.{body}``. Neither the id nor the timestamp may hold a full
stop, or two different webhooks could share a signature. The key behind ``whsk_`` is seed and public
key, 64 bytes, as libsodium has it. Decoded keys are not cached: nothing here keeps a secret longer
than a call, but for the :class:`Signer` that its caller keeps.
"""

import base64
import hmac
import json
import re
import secrets as randomness
import time
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519

from django_relay import exceptions

Scheme: TypeAlias = Literal["v1", "v1a"]

MAX_SIGNATURES = 20
"""How many entries of a signature header :func:`verify` looks at."""
MAX_HEADER_LENGTH = 4096

_KEY_LENGTHS = {"whsec_": range(24, 65), "whsk_": range(64, 65), "whpk_": range(32, 33)}
_SECRET_PREFIXES = ("whsec_", "whsk_")
_ALL_PREFIXES = ("whsec_", "whsk_", "whpk_")
_MAX_SECRET_LENGTH = 128
_TIMESTAMP = re.compile(r"0|[1-9][0-9]{0,11}")
_MESSAGE_ID = re.compile(r"[!-\-/-~]{1,256}")  # visible ASCII without the full stop


def generate_secret(scheme: str = "v1") -> str:
    """Return a new secret for the scheme ``v1`` or ``v1a``.

    Raises:
        InvalidSecret: there is no such scheme.
    """
    if scheme == "v1":
        return "whsec_" + _encode(randomness.token_bytes(32))
    if scheme == "v1a":
        private = ed25519.Ed25519PrivateKey.generate()
        return "whsk_" + _encode(private.private_bytes_raw() + private.public_key().public_bytes_raw())
    raise exceptions.InvalidSecret("A scheme is v1 or v1a.")


def validate_secret(secret: object) -> str:
    """Return ``secret`` if it can sign.

    That is ``whsec_`` of 24 to 64 bytes, or ``whsk_`` whose two halves belong together, in
    canonical base64 with its padding, so that one key has one spelling.

    Raises:
        InvalidSecret: it is anything else; the message does not show it.
    """
    prefix, key = _key(secret, _SECRET_PREFIXES)
    if prefix == "whsk_" and _private(key).public_key().public_bytes_raw() != key[32:]:
        raise exceptions.InvalidSecret("The public half of the secret does not belong to its seed.")
    return prefix + _encode(key)


def scheme_of(secret: str) -> Scheme:
    """Return the scheme that a secret signs by.

    Raises:
        InvalidSecret: it is no secret.
    """
    return "v1" if _key(secret, _SECRET_PREFIXES)[0] == "whsec_" else "v1a"


def public_key(secret: str) -> str:
    """Return the public key (``whpk_…``) of a ``v1a`` secret, which its receiver may know.

    Raises:
        InvalidSecret: it is no secret of the scheme ``v1a``.
    """
    key = _key(secret, ("whsk_",))[1]
    return "whpk_" + _encode(_private(key).public_key().public_bytes_raw())


def sign(secret: str, *, webhook_id: str, timestamp: int, body: bytes) -> str:
    """Return one entry of the ``webhook-signature`` header, such as "v1,g0hM9SsE…".

    ``timestamp`` is in seconds since 1970.

    Raises:
        InvalidSecret: it is no secret.
        InvalidEvent: ``bad_event_id``, the id could not be told from what follows it.
    """
    return signature_header([Signer(secret)], webhook_id=webhook_id, timestamp=timestamp, body=body)


class Signer:
    """A secret made ready to sign much: reading it costs as much as signing once.

    Raises:
        InvalidSecret: it is no secret.
    """

    def __init__(self, secret: str) -> None:
        prefix, key = _key(secret, _SECRET_PREFIXES)
        self._hmac = hmac.new(key, digestmod="sha256") if prefix == "whsec_" else None
        self._private = None if prefix == "whsec_" else _private(key)

    def sign(self, content: bytes) -> str:
        """Return one entry of the ``webhook-signature`` header for what is signed, ``{id}.{timestamp}.{body}``."""
        if self._private is not None:
            return "v1a," + _encode(self._private.sign(content))
        assert self._hmac is not None  # noqa: S101 - the one or the other
        digest = self._hmac.copy()
        digest.update(content)
        return "v1," + _encode(digest.digest())


def signature_header(signers: Iterable[Signer], *, webhook_id: str, timestamp: int, body: bytes) -> str:
    """Return the ``webhook-signature`` header: one entry for each live secret, separated by spaces.

    Raises:
        InvalidSecret: there is none: nothing is ever sent unsigned.
        InvalidEvent: ``bad_event_id``, see :func:`sign`.
    """
    if not _MESSAGE_ID.fullmatch(webhook_id):
        raise exceptions.InvalidEvent("A webhook's id must be visible ASCII without a full stop.", code="bad_event_id")
    content = _content(webhook_id, str(timestamp), body)
    header = " ".join([signer.sign(content) for signer in signers])
    if not header:
        raise exceptions.InvalidSecret("At least one secret is needed to sign.")
    return header


def verify(
    body: bytes | str,
    headers: Mapping[str, str],
    secrets: str | Iterable[str],
    *,
    tolerance_seconds: float = 300,
    now: float | None = None,
) -> Any:
    """Return the parsed JSON of a webhook that the holder of one of the secrets sent just now.

    For receivers. ``body`` is the body as it came, not parsed and written anew; ``headers`` is any
    mapping, such as Django's ``request.headers`` (case does not matter); ``secrets`` is one or
    several of ``whsec_…``, ``whpk_…`` and ``whsk_…``: during a rotation, the old and the new one.
    Signatures of unknown versions are passed over.

    ``now`` is in seconds since 1970; None reads the clock. This is the one rule that does, for it
    runs at the receiver, where nobody hands a clock in.

    Raises:
        VerificationError: ``missing_header``, ``bad_timestamp``, ``stale_timestamp`` (sent more
            than ``tolerance_seconds`` before or after now), ``bad_signature``, or ``bad_body``
            (signed rightly, but not JSON in UTF-8). Answer with 400 or 401.
        InvalidSecret: the receiver's own secrets are none, or not secrets.
    """
    keys = [_key(secret, _ALL_PREFIXES) for secret in ([secrets] if isinstance(secrets, str) else secrets)]
    if not keys:
        raise exceptions.InvalidSecret("At least one secret is needed to verify.")
    webhook_id, timestamp, signatures = _read(headers)
    age = (time.time() if now is None else now) - int(timestamp)
    if not abs(age) <= tolerance_seconds:
        raise exceptions.VerificationError(
            "The webhook was not sent just now; is the clock right?", code="stale_timestamp"
        )
    try:
        raw = body.encode() if isinstance(body, str) else bytes(body)
    except UnicodeEncodeError as error:
        raise exceptions.VerificationError("The body is no Unicode.", code="bad_body") from error
    content = _content(webhook_id, timestamp, raw)
    if not any(_is_signed(key, content, signatures=signatures) for key in keys):
        raise exceptions.VerificationError("No signature of the webhook fits.")
    try:
        return json.loads(raw.decode())
    except (ValueError, RecursionError) as error:
        raise exceptions.VerificationError("The body is not JSON.", code="bad_body") from error


def _read(headers: Mapping[str, str]) -> tuple[str, str, list[tuple[str, bytes]]]:
    """Return the id, the timestamp (checked, as text) and the decoded signatures."""
    found = {str(name).lower(): value for name, value in headers.items()}
    values = []
    for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
        value = found.get(name)
        if not isinstance(value, str) or not value:
            raise exceptions.VerificationError(f"The header {name} is missing.", code="missing_header")
        values.append(value)
    webhook_id, timestamp, entries = values
    # A strict pattern, for int() also reads "1_7", " 17" and the digits of other scripts.
    if not _TIMESTAMP.fullmatch(timestamp):
        raise exceptions.VerificationError("The timestamp is not a whole number of seconds.", code="bad_timestamp")
    if not _MESSAGE_ID.fullmatch(webhook_id) or len(entries) > MAX_HEADER_LENGTH:
        raise exceptions.VerificationError("The webhook's id or signature cannot be one of ours.")
    signatures = []
    for entry in entries.split(" ")[:MAX_SIGNATURES]:
        version, _, signature = entry.partition(",")
        signatures.append((version, _decode(signature)))
    return webhook_id, timestamp, signatures


def _is_signed(key: tuple[str, bytes], content: bytes, *, signatures: list[tuple[str, bytes]]) -> bool:
    """Say whether one of the signatures was made with the key."""
    prefix, raw = key
    if prefix == "whsec_":
        expected = hmac.digest(raw, content, "sha256")
        given = [signature for version, signature in signatures if version == "v1"]
        return any(hmac.compare_digest(expected, signature) for signature in given)
    load = ed25519.Ed25519PublicKey.from_public_bytes
    public = _private(raw).public_key() if prefix == "whsk_" else load(raw)
    return any(_fits(public, signature, content=content) for version, signature in signatures if version == "v1a")


def _fits(public: ed25519.Ed25519PublicKey, signature: bytes, *, content: bytes) -> bool:
    try:
        public.verify(signature, content)
    except InvalidSignature:
        return False
    return True


def _content(webhook_id: str, timestamp: str, body: bytes) -> bytes:
    return f"{webhook_id}.{timestamp}.".encode() + body


def _key(secret: object, prefixes: tuple[str, ...]) -> tuple[str, bytes]:
    """Return prefix and key of a secret that begins with one of the prefixes."""
    if isinstance(secret, str) and len(secret) <= _MAX_SECRET_LENGTH:
        for prefix in prefixes:
            key = _decode(secret.removeprefix(prefix)) if secret.startswith(prefix) else b""
            if len(key) in _KEY_LENGTHS[prefix]:
                return prefix, key
    raise exceptions.InvalidSecret


def _private(key: bytes) -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.from_private_bytes(key[:32])


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decode(text: str) -> bytes:
    """Return the bytes behind canonical base64, and none for anything else."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        return b""
    # Python ignores unused bits of the last character: one key would have many spellings.
    return data if _encode(data) == text else b""

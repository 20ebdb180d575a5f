"""Tokens: what API keys, portal links and portal sessions are known by.

A token is ``<kind><public part>_<secret>``: the kind says what it opens, the public part finds its row, and the secret
is 43 letters and digits at random, 256 bits. Only the SHA-256 of the whole is stored, which is enough for a value that
nobody can guess (OWASP ASVS 5.0 §11.4). Secret scanners find all of them with :data:`SCANNER_PATTERN`.
"""

import hashlib
import hmac
import re
import secrets
import string

API_KEY = "rlk_"
PORTAL_LINK = "rlp_"
PORTAL_SESSION = "rls_"

PORTAL_COOKIE = "__Host-relay_portal"
"""The cookie of portal sessions: the prefix binds it to this host alone and to HTTPS (RFC 6265bis)."""
CSRF_HEADER = "X-Relay-CSRF"
"""Where scripts put the CSRF token of a portal session."""

_PUBLIC = {API_KEY: r"[0-9a-z]{12}", PORTAL_LINK: r"[0-9a-z]{26}", PORTAL_SESSION: r"[0-9a-z]{26}"}
_RANDOM = r"[0-9A-Za-z]{43}"
_RANDOM_LENGTH = 43  # 62 ** 43 > 2 ** 256
_LETTERS = string.digits + string.ascii_letters
_PATTERNS = {kind: re.compile(f"{kind}({public})_{_RANDOM}", re.ASCII) for kind, public in _PUBLIC.items()}
_MAX_LENGTH = max(map(len, _PUBLIC)) + 26 + 1 + _RANDOM_LENGTH

SCANNER_PATTERN = rf"\brl(?:k_[0-9a-z]{{12}}|[ps]_[0-9a-z]{{26}})_{_RANDOM}\b"
"""What a secret scanner looks for: every token of ours, and hardly anything else."""

NO_DIGEST = "0" * 64
"""The digest to compare with where there is no row, so that an unknown token costs what a wrong one does."""


def generate(kind: str, public: str) -> str:
    """Return a new token of a kind; ``public`` is what its row is found by."""
    token = f"{kind}{public}_{_random(_LETTERS, _RANDOM_LENGTH)}"
    if public_part(token, kind=kind) is None:
        raise ValueError(f"The public part of {kind}… tokens must fit {_PUBLIC[kind]}.")
    return token


def generate_public_part() -> str:
    """Return a new public part of an API key: twelve lower-case letters and digits, 62 bits."""
    return _random(string.digits + string.ascii_lowercase, 12)


def public_part(token: object, *, kind: str) -> str | None:
    """Return what finds the token's row; ``None`` if it is no token of this kind. Takes bounded time."""
    if not isinstance(token, str) or len(token) > _MAX_LENGTH:
        return None
    match = _PATTERNS[kind].fullmatch(token)
    return match[1] if match else None


def digest(token: str) -> str:
    """Return what is stored of a token: the SHA-256 of the whole, in hexadecimal."""
    return hashlib.sha256(token.encode()).hexdigest()


def matches(token: str, stored: str) -> bool:
    """Return whether ``stored`` is the token's digest; takes the same time for every wrong one."""
    return hmac.compare_digest(digest(token), stored)


def csrf_token(session_token: str) -> str:
    """Return a new CSRF token of a portal session: ``<nonce>.<HMAC-SHA256 of it under the session's token>``.

    Nothing of it is stored. Each is different, so that compressed pages do not give it away (BREACH); all stay good as
    long as the session does.
    """
    nonce = _random(_LETTERS, 22)
    return f"{nonce}.{_sign(session_token, nonce)}"


def is_csrf_token(value: object, session_token: str) -> bool:
    """Return whether ``value`` is a CSRF token of that portal session."""
    if not isinstance(value, str) or not value.isascii() or len(value) > 100:
        return False
    nonce, _dot, signature = value.partition(".")
    return hmac.compare_digest(_sign(session_token, nonce), signature)


def _sign(session_token: str, nonce: str) -> str:
    return hmac.new(session_token.encode(), f"django_relay.csrf:{nonce}".encode(), hashlib.sha256).hexdigest()


def _random(letters: str, length: int) -> str:
    return "".join(secrets.choice(letters) for _ in range(length))

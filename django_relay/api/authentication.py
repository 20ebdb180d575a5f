"""Who calls: by API key, by portal session, or as the host's own user.

The first credential that is there counts, and no other is tried beside it: an API key that is wrong is an error even
where a cookie would let its sender in.
"""

from typing import TYPE_CHECKING, Any

from django.utils import timezone
from django.utils.module_loading import import_string
from django.views.decorators.debug import sensitive_variables
from rest_framework import exceptions as drf
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from django_relay import conf
from django_relay.api import throttles
from django_relay.models import ApiKey, PortalSession, callers
from django_relay.rules import tokens
from django_relay.rules.access import Caller

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAX_HEADER_LENGTH = 512
_SAFE_METHODS = {"GET", "HEAD", "OPTIONS", "TRACE"}


class Credential:
    """Stands in ``request.user`` where no user of the host's is: a program or a visitor of the portal."""

    is_authenticated = True
    is_active = True
    is_anonymous = is_staff = is_superuser = False
    pk = id = None

    def has_perm(self, *args: Any) -> bool:
        """Return that it has none of Django's permissions."""
        return False


class KeyAuthentication(BaseAuthentication):
    """``Authorization: Bearer rlk_…``."""

    @sensitive_variables("header", "token")
    def authenticate(self, request: Request) -> tuple[Credential, Caller] | None:
        """Return who calls by an API key; ``None`` if no key of ours is given.

        Raises:
            AuthenticationFailed: the key is wrong, expired or revoked; they all look the same.
            Throttled: too many were.
        """
        header = str(request.META.get("HTTP_AUTHORIZATION", ""))
        scheme, _blank, token = header[: _MAX_HEADER_LENGTH + 1].partition(" ")
        if scheme.lower() != "bearer" or not token.startswith(tokens.API_KEY):
            return None
        address = address_of(request)
        key = None
        if len(header) <= _MAX_HEADER_LENGTH:
            key = ApiKey.objects.authenticate(token, now=timezone.now())
        if key is None:
            throttles.count_failure(address, token)
            raise drf.AuthenticationFailed("The API key is wrong, expired or revoked.")
        return Credential(), key.caller(address=address)

    def authenticate_header(self, request: Request) -> str:
        """Return the challenge of a 401."""
        return 'Bearer realm="django_relay"'


class PortalAuthentication(BaseAuthentication):
    """The cookie of a portal session, and on unsafe requests its CSRF token in ``X-Relay-CSRF``."""

    @sensitive_variables("token")
    def authenticate(self, request: Request) -> tuple[Credential, Caller] | None:
        """Return who calls from the portal; ``None`` without its cookie.

        Raises:
            AuthenticationFailed: the session has ended.
            PermissionDenied: the CSRF token is missing or wrong, or the request comes from another site.
        """
        token = request.COOKIES.get(tokens.PORTAL_COOKIE, "")
        if "HTTP_AUTHORIZATION" in request.META or not token.startswith(tokens.PORTAL_SESSION):
            return None
        session = PortalSession.objects.authenticate(token, now=timezone.now())
        if session is None:
            raise drf.AuthenticationFailed("The portal session has ended.")
        is_own = request.headers.get("Sec-Fetch-Site") in {None, "same-origin"}
        given = request.headers.get(tokens.CSRF_HEADER)
        if request.method not in _SAFE_METHODS and not (is_own and tokens.is_csrf_token(given, token)):
            raise drf.PermissionDenied(f"{tokens.CSRF_HEADER} must hold the portal's CSRF token.")
        return Credential(), session.caller(address=address_of(request))


def authenticators() -> list[BaseAuthentication]:
    """Return what is tried, in this order: API key, portal session, ``API_AUTHENTICATION_CLASSES``."""
    own: Sequence[str | type[BaseAuthentication]] = conf.settings.API_AUTHENTICATION_CLASSES
    classes = [import_string(name) if isinstance(name, str) else name for name in own]
    return [KeyAuthentication(), PortalAuthentication(), *(made() for made in classes)]


def caller_of(request: Request) -> Caller:
    """Return who calls: ours, or the host's user as staff or as whose tenant it is.

    Raises:
        NotAuthenticated: nobody.
    """
    if isinstance(request.auth, Caller):
        return request.auth
    user = request.user
    caller = None
    if getattr(user, "is_authenticated", False):
        address = address_of(request)
        caller = callers.of_staff(user, address=address) or callers.of_user(request._request, address=address)
    if caller is None:
        raise drf.NotAuthenticated("Give an API key: Authorization: Bearer rlk_….")
    return caller


def address_of(request: Request) -> str:
    """Return the address that the server itself saw; what a client says of itself counts for nothing."""
    return str(request.META.get("REMOTE_ADDR", ""))

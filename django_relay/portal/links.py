"""One-time links to the portal."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.views.decorators.debug import sensitive_variables

from django_relay import conf, exceptions
from django_relay.models import PortalSession
from django_relay.rules import access
from django_relay.rules.access import Caller


@dataclass(frozen=True, slots=True)
class Link:
    """A portal session and the one-time URL that opens it."""

    session: PortalSession
    url: str = field(repr=False)


def create_session(
    *,
    tenant_id: str,
    application: str = "default",
    capabilities: Iterable[str] = access.CAPABILITIES,
    theme: Mapping[str, Any] | None = None,
    return_url: str = "",
    expires_in_seconds: int | None = None,
    caller: Caller = access.SYSTEM,
    request: HttpRequest | None = None,
) -> Link:
    """Make a portal session of one tenant; send its person to ``.url``, which works once and for ten minutes at most.

    Takes what :meth:`PortalSession.objects.invite` does, and ``request``, whose host the URL gets unless
    ``PORTAL["ORIGIN"]`` names one.

    Raises:
        ValidationError, UnknownApplication, NotAllowed: as ``invite`` does.
        WrongState: ``portal_not_mounted``; nothing is stored.
    """
    path()
    session, token = PortalSession.objects.invite(
        tenant_id=tenant_id,
        application=application,
        capabilities=capabilities,
        theme=theme,
        return_url=return_url,
        expires_in_seconds=expires_in_seconds,
        caller=caller,
    )
    return Link(session, url_of(token, request=request))


@sensitive_variables("token")
def url_of(token: str, *, request: HttpRequest | None = None) -> str:
    """Return the URL that exchanges a link's token.

    The token is the fragment: browsers send it to no server, so that it stands in no access log and no ``Referer``; the
    page sends it once, in a body. Without ``PORTAL["ORIGIN"]`` and ``request`` the URL is a path.

    Raises:
        WrongState: ``portal_not_mounted``.
    """
    entrance = path()
    origin: str = conf.settings.PORTAL["ORIGIN"]
    if origin:
        entrance = origin.rstrip("/") + entrance
    elif request is not None:
        entrance = request.build_absolute_uri(entrance)
    return f"{entrance}#{token}"


def is_mounted() -> bool:
    """Return whether there is a page that takes links."""
    try:
        path()
    except exceptions.WrongState:
        return False
    return True


def path() -> str:
    """Return the path of the page that takes links.

    Raises:
        WrongState: ``portal_not_mounted``.
    """
    try:
        return reverse("relay_portal:enter")
    except NoReverseMatch as error:
        raise exceptions.WrongState(
            "The portal is not mounted: put include('django_relay.portal.urls') into the URLconf.",
            code="portal_not_mounted",
        ) from error

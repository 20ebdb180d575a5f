"""Who visits the portal: by a session that a link opened, or as the host's own user (``TENANT_RESOLVER``).

One cookie knows the browser. It holds either a portal session's token or, for people who have none (yet), a random
value; CSRF tokens are bound to it. A session comes first: while its cookie is there, the host's own login counts for
nothing, so that who opened one tenant's link never acts for another.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db import router
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from django_relay import conf, exceptions
from django_relay.models import Application, PortalSession, callers
from django_relay.models.lists import Owner
from django_relay.rules import tokens
from django_relay.rules.access import Caller

_NEWCOMER = "rlv_"
CSRF_FIELD = "csrf"


@dataclass(slots=True)
class Visit:
    """One request's visitor. Without a ``caller`` it is nobody who may see a page."""

    key: str = field(repr=False)
    """The cookie's value: what CSRF tokens are bound to."""
    caller: Caller | None = None
    application: Application | None = None
    session: PortalSession | None = None
    ended: PortalSession | None = None
    """The session that the cookie is of, if it is over."""

    @property
    def using(self) -> str:
        """The database that the portal reads and writes, so that everybody sees what they have just changed."""
        return router.db_for_write(PortalSession)

    @property
    def owner(self) -> Owner:
        """Whose rows it sees."""
        assert self.caller is not None  # noqa: S101 - frame.page lets nobody else in
        assert self.application is not None  # noqa: S101
        return Owner(self.application.pk, self.caller.tenant_id)

    @property
    def dress(self) -> Mapping[str, Any]:
        """The theme of its session."""
        session = self.session or self.ended
        return session.theme if session is not None else {}

    @property
    def csrf_token(self) -> str:
        """A new CSRF token, good as long as the visit's cookie."""
        return tokens.csrf_token(self.key)

    @property
    def may_write(self) -> bool:
        """Whether the visitor may change endpoints."""
        return self.may("write")

    @property
    def may_replay(self) -> bool:
        """Whether the visitor may send again."""
        return self.may("replay")

    @property
    def may_test(self) -> bool:
        """Whether the visitor may send test events."""
        return self.may("test")

    @property
    def may_see_secrets(self) -> bool:
        """Whether the visitor may see and rotate signing secrets."""
        return self.may("secrets")

    def may(self, scope: str) -> bool:
        """Return whether the visitor holds a scope."""
        return self.caller is not None and self.caller.may(scope)


def of(request: HttpRequest) -> Visit:
    """Return who asks."""
    key = request.COOKIES.get(tokens.PORTAL_COOKIE, "")
    if key.startswith(tokens.PORTAL_SESSION):
        session = PortalSession.objects.authenticate(key, now=timezone.now())
        if session is None:
            return Visit(_newcomer(), ended=PortalSession.objects.find(key))
        return Visit(key, session.caller(address=address(request)), session.application, session)
    visit = Visit(key if key.startswith(_NEWCOMER) and len(key) == len(_newcomer()) else _newcomer())
    caller = callers.of_user(request, address=address(request))
    if caller is not None and caller.application is not None:
        try:
            visit.application = Application.objects.named(caller.application)
        except exceptions.UnknownApplication as error:
            raise exceptions.RelayConfigurationError(f"TENANT_RESOLVER: {error}") from error
        visit.caller = caller
    return visit


def unread(request: HttpRequest) -> Visit:
    """Return nobody, who keeps the cookie that the browser has: the visit while the database cannot be asked."""
    return Visit(request.COOKIES.get(tokens.PORTAL_COOKIE) or _newcomer())


def remember(response: HttpResponse, visit: Visit, request: HttpRequest) -> None:
    """Give the browser the visit's cookie, unless it has it."""
    if request.COOKIES.get(tokens.PORTAL_COOKIE) != visit.key:
        _set(response, visit.key)


def forget(response: HttpResponse) -> None:
    """Take the cookie away."""
    _set(response, "", max_age=0)


def is_genuine(request: HttpRequest, visit: Visit) -> bool:
    """Return whether an unsafe request comes from one of the visitor's own pages.

    Its CSRF token must be bound to the cookie. What browsers say of the request's origin must not speak against it:
    ``Origin`` is ``null`` on forms of pages with ``no-referrer``, so that ``Sec-Fetch-Site`` is looked at first.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None and site != "same-origin":
        return False
    origin = request.headers.get("Origin")
    if site is None and origin not in (None, "null", f"{request.scheme}://{request.get_host()}"):
        return False
    given = request.headers.get(tokens.CSRF_HEADER) or request.POST.get(CSRF_FIELD)
    return request.COOKIES.get(tokens.PORTAL_COOKIE) == visit.key and tokens.is_csrf_token(given, visit.key)


def address(request: HttpRequest) -> str:
    """Return the address that the server itself saw; what a client says of itself counts for nothing."""
    return str(request.META.get("REMOTE_ADDR", ""))


def is_embeddable() -> bool:
    """Return whether other origins' pages may show the portal."""
    return bool(conf.settings.PORTAL["FRAME_ANCESTORS"])


def _newcomer() -> str:
    return _NEWCOMER + secrets.token_urlsafe(24)


def _set(response: HttpResponse, value: str, *, max_age: int | None = None) -> None:
    response.set_cookie(
        tokens.PORTAL_COOKIE,
        value,
        max_age=max_age,
        secure=True,  # browsers let loopback pass for HTTPS
        httponly=True,
        samesite="None" if is_embeddable() else "Lax",
    )
    if is_embeddable():
        # Only a partitioned cookie reaches a page in another site's frame. http.cookies learns the word in Python 3.14.
        morsel = response.cookies[tokens.PORTAL_COOKIE]
        morsel._reserved = {**morsel._reserved, "partitioned": "Partitioned"}  # type: ignore[attr-defined]  # noqa: SLF001
        morsel._flags = {*morsel._flags, "partitioned"}  # type: ignore[attr-defined]  # noqa: SLF001
        morsel["partitioned"] = True

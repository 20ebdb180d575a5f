"""What every page goes through: who visits, in which language, with which headers, and what is refused how.

A page is a function ``(request, visit, …) -> HttpResponse`` under :func:`page`. It is called with a visit that may do
what the decorator names, an unsafe request that is genuine, and the visitor's language active; a DoesNotExist-like
refusal is ``Http404``, whosever the row is.
"""

import contextlib
import functools
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Concatenate, ParamSpec

from django.db import Error
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.templatetags.static import static
from django.utils import translation
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt

from django_relay import conf, exceptions
from django_relay.models import writing
from django_relay.portal import theme, visits
from django_relay.portal.visits import Visit
from django_relay.rules import origins

logger = logging.getLogger(__name__)

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, Visit, P], HttpResponseBase]

_SAFE = {"GET", "HEAD", "OPTIONS"}


def page(
    scope: str | None = "read", *, methods: tuple[str, ...] = ("GET",)
) -> Callable[[View[P]], Callable[..., HttpResponseBase]]:
    """Make a view of a function.

    Whoever may read may see every page: what is missing there is said on it. ``scope`` is asked of unsafe requests.
    ``None`` asks for nothing, not even a session: the entrance.
    """

    def decorate(function: View[P]) -> Callable[..., HttpResponseBase]:
        @functools.wraps(function)
        def view(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            visit = visits.unread(request)
            with _language(request):
                try:
                    visit = visits.of(request)
                    response: HttpResponseBase | None = _refusal(request, visit, scope, methods)
                    if response is None:
                        response = function(request, visit, *args, **kwargs)
                except (Http404, exceptions.InvalidCursor):
                    response = show(request, visit, "not_found.html", status=404)
                except Error as error:
                    if not writing.is_unavailable(error):
                        raise
                    response = _busy(request, visit, error)
            return secure(response, visit)

        return csrf_exempt(view)

    return decorate


def show(
    request: HttpRequest, visit: Visit, template: str, context: Mapping[str, Any] | None = None, *, status: int = 200
) -> HttpResponse:
    """Render a template of ``django_relay/portal/`` and give the browser its cookie."""
    common = {
        "request": request,
        "visit": visit,
        "themed": bool(theme.stylesheet(visit.dress)),
        "mode": visit.dress.get("scheme", "auto"),
        "return_url": _return_url(visit),
        "framed": request.headers.get("Sec-Fetch-Dest") == "iframe",
        "part": request.headers.get("HX-Request") == "true",
        "language": translation.get_language(),
        "bidi": "rtl" if translation.get_language_bidi() else "ltr",
    }
    response = render(request, f"django_relay/portal/{template}", {**common, **(context or {})}, status=status)
    visits.remember(response, visit, request)
    return response


def secure(response: HttpResponseBase, visit: Visit) -> HttpResponseBase:
    """Set the headers that every answer of the portal has: the one place for them."""
    ancestors = _ancestors()
    own = " ".join(["'self'", *_origins_of([static("django_relay/portal.css")])])
    images = " ".join([own, *_origins_of([visit.dress.get("logo_url", "")])])
    frames = " ".join(ancestors) or "'none'"
    response.headers["Content-Security-Policy"] = (
        f"default-src 'none'; script-src {own}; style-src {own}; img-src {images}; connect-src 'self'; "
        f"form-action 'self'; base-uri 'none'; frame-ancestors {frames}"
    )
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["X-Robots-Tag"] = "noindex"
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    response.headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"
    if ancestors:
        response.xframe_options_exempt = True  # type: ignore[attr-defined]
    else:
        response.headers["X-Frame-Options"] = "DENY"
    patch_vary_headers(response, ["Cookie", "Accept-Language"])
    return response


def ended(request: HttpRequest, visit: Visit) -> HttpResponse:
    """Say that a session is over, or that there is none, and what to do."""
    session = visit.ended
    why = "none" if session is None else "revoked" if session.revoked_at is not None else "expired"
    response = show(request, visit, "ended.html", {"why": why}, status=401)
    if request.headers.get("HX-Request") == "true":
        response.headers["HX-Refresh"] = "true"  # the whole page, not a part of it, is what has ended
    elif session is not None:
        visits.forget(response)
    return response


def _busy(request: HttpRequest, visit: Visit, error: Error) -> HttpResponse:
    """Say that the database takes nothing now, on a page that asks nothing of it."""
    extra = {"event": "portal.database_busy"}
    logger.warning("portal.database_busy %s", writing.reason_of(error), extra=extra)
    response = show(request, visit, "busy.html", status=503)
    response.headers["Retry-After"] = str(writing.BUSY_SECONDS)
    response.headers["HX-Reswap"] = "none"  # a part of a page stays as it is, and asks again
    return response


def _refusal(request: HttpRequest, visit: Visit, scope: str | None, methods: tuple[str, ...]) -> HttpResponse | None:
    if scope is not None and not visit.may("read"):
        return ended(request, visit)
    if request.method not in {*methods, "HEAD"}:
        return HttpResponse(status=405, headers={"Allow": ", ".join(methods)}, content_type="text/plain; charset=utf-8")
    if request.method in _SAFE:
        return None
    if not visits.is_genuine(request, visit):
        return show(request, visit, "not_genuine.html", status=403)
    if scope is not None and not visit.may(scope):
        return show(request, visit, "not_allowed.html", {"missing": missing(scope)}, status=403)
    return None


def missing(scope: str) -> str:
    """Say what a visitor without a scope cannot do."""
    return {
        "write": _("This access cannot change endpoints."),
        "secrets": _("This access cannot see or rotate signing secrets."),
        "replay": _("This access cannot send events again."),
        "test": _("This access cannot send test events."),
    }.get(scope, _("This access cannot do that."))


def _language(request: HttpRequest) -> translation.override:
    return translation.override(translation.get_language_from_request(request))


def _return_url(visit: Visit) -> str:
    """Return where people go from here, if it is (still) allowed."""
    session = visit.session or visit.ended
    url = session.return_url if session is not None else ""
    return url if origins.is_listed(url, conf.settings.PORTAL["RETURN_URLS"]) else ""


def _origins_of(urls: Iterable[str]) -> list[str]:
    """Return the origins of those that are URLs; what stands in no header (a path, a mistake) is left out."""
    found = []
    for url in urls:
        with contextlib.suppress(exceptions.InvalidInput):
            found.append(origins.parse(url).origin)
    return found


def _ancestors() -> list[str]:
    found = []
    for origin in conf.settings.PORTAL["FRAME_ANCESTORS"]:
        with contextlib.suppress(exceptions.InvalidInput):  # a check names it
            found.append(origins.parse_origin(origin))
    return found

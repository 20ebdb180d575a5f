"""In by a one-time link, and out.

The link's page is harmless: scanners and previews may open it as often as they like, for only its form (a POST) uses
the link up. Its script sends the form by itself; without scripts the person pastes the link.
"""

from django.core.cache import cache
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from django_relay import conf, exceptions
from django_relay.models import PortalSession
from django_relay.portal import frame, theme, visits
from django_relay.portal.visits import Visit
from django_relay.rules import rates

_MAX_LENGTH = 2_048


@frame.page(None, methods=("GET", "POST"))
@sensitive_variables("token")
def enter(request: HttpRequest, visit: Visit) -> HttpResponseBase:
    """Exchange a link's token for a session and go on to a clean URL."""
    if request.method != "POST":
        return frame.show(request, visit, "enter.html")
    # Who pastes the whole link means its fragment.
    token = request.POST.get("token", "")[:_MAX_LENGTH].strip().rpartition("#")[2]
    try:
        session, session_token = PortalSession.objects.exchange(
            token, now=timezone.now(), address=visits.address(request)
        )
    except exceptions.UnusableLink as error:
        return _refused(request, visit, error)
    response = HttpResponseRedirect(reverse("relay_portal:endpoints"), status=303)
    visits.remember(response, Visit(session_token, session=session), request)
    return response


@frame.page(None, methods=("POST",))
def leave(request: HttpRequest, visit: Visit) -> HttpResponseBase:
    """End the session, for good."""
    if visit.session is not None and visit.caller is not None:
        visit.session.revoke(caller=visit.caller)
    response = frame.show(request, Visit(visit.key, ended=visit.session), "ended.html", {"why": "left"})
    visits.forget(response)
    return response


@frame.page(None)
def stylesheet(request: HttpRequest, visit: Visit) -> HttpResponseBase:
    """Serve the theme of the visitor's session as a style sheet."""
    return HttpResponse(theme.stylesheet(visit.dress), content_type="text/css; charset=utf-8")


def _refused(request: HttpRequest, visit: Visit, error: exceptions.UnusableLink) -> HttpResponse:
    """Answer a link that is none; a good one never waits for these: behind a proxy all people may share an address."""
    if _is_one_too_many(request):
        response = frame.show(request, visit, "unusable.html", {"code": "throttled"}, status=429)
        response.headers["Retry-After"] = "60"
        return response
    context = {"code": error.code, "return_url": error.return_url}
    return frame.show(request, Visit(visit.key), "unusable.html", context, status=401)


def _is_one_too_many(request: HttpRequest) -> bool:
    rate = conf.settings.API_THROTTLES["failed"]
    if rate is None:
        return False
    limit, seconds = rates.parse(rate)
    key = f"django_relay.portal.failed:{visits.address(request)}"
    cache.add(key, 0, timeout=seconds)
    try:
        return cache.incr(key) > limit
    except ValueError:  # it ended between the two
        return False

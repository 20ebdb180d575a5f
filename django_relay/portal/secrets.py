"""Signing secrets: hidden until somebody asks for them, each time on record."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django import forms
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponseBase
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables

from django_relay import exceptions
from django_relay.models import AuditEntry, Endpoint, SigningSecret, audit
from django_relay.portal import endpoints, frame, problems, snippets, snippets_v1a
from django_relay.portal.visits import Visit
from django_relay.rules import signing

_HISTORY = 20


class RotationForm(forms.Form):
    """How a secret is rotated."""

    overlap_seconds = forms.TypedChoiceField(
        coerce=int,
        choices=[
            (0, _("Not at all: the old secret stops now")),
            (3_600, _("1 hour")),
            (86_400, _("1 day")),
            (259_200, _("3 days")),
            (604_800, _("7 days")),
        ],
        initial=86_400,
    )
    scheme = forms.ChoiceField(choices=SigningSecret.Scheme.choices, initial=SigningSecret.Scheme.V1, required=False)
    secret = forms.CharField(required=False, max_length=200, strip=True)


@frame.page()
def show(request: HttpRequest, visit: Visit, endpoint_id: str) -> HttpResponseBase:
    """Show which secrets sign, without the secrets."""
    endpoint = endpoints.find(visit, endpoint_id)
    return frame.show(request, visit, "endpoints/secret.html", _about(visit, endpoint))


@frame.page("secrets", methods=("POST",))
@sensitive_variables()
def reveal(request: HttpRequest, visit: Visit, endpoint_id: str) -> HttpResponseBase:
    """Show the secrets that sign, once, and put that on record."""
    endpoint = endpoints.find(visit, endpoint_id)
    with transaction.atomic(visit.using):
        _record("endpoint.secret_revealed", endpoint, visit)
    shown = [{"row": row, "key": row.key} for row in _live(endpoint, visit)]
    if not shown:  # deleted meanwhile, with the endpoint
        raise Http404
    return frame.show(request, visit, "endpoints/secret.html", {**_about(visit, endpoint), "shown": shown})


@frame.page("secrets", methods=("POST",))
@sensitive_post_parameters("secret")
@sensitive_variables()
def rotate(request: HttpRequest, visit: Visit, endpoint_id: str) -> HttpResponseBase:
    """Make a new secret current, and show it once."""
    endpoint = endpoints.find(visit, endpoint_id)
    form = RotationForm(request.POST)
    if form.is_valid():
        overlap = form.cleaned_data["overlap_seconds"]
        try:
            with endpoints.still_there(), transaction.atomic(visit.using):
                endpoint.rotate_secret(
                    timedelta(seconds=overlap),
                    secret=form.cleaned_data["secret"],
                    scheme=form.cleaned_data["scheme"] or SigningSecret.Scheme.V1,
                )
                _record("endpoint.secret_rotated", endpoint, visit, after={"overlap_seconds": overlap})
        except exceptions.InvalidInput as error:
            form.add_error("secret", problems.sentence(error))
        else:
            shown = [{"row": row, "key": row.key} for row in _live(endpoint, visit)[:1]]
            context = {**_about(visit, endpoint), "shown": shown, "rotated": True}
            return frame.show(request, visit, "endpoints/secret.html", context)
    return frame.show(request, visit, "endpoints/secret.html", {**_about(visit, endpoint), "form": form}, status=422)


def verifying(scheme: str) -> Sequence[snippets.Snippet]:
    """Return the code that verifies a scheme's signatures, in each language."""
    return snippets_v1a.SNIPPETS if scheme == "v1a" else snippets.SNIPPETS


def _about(visit: Visit, endpoint: Endpoint) -> dict[str, Any]:
    actions = ["endpoint.secret_revealed", "endpoint.secret_rotated", "endpoint.created"]
    history = AuditEntry.objects.using(visit.using).of(endpoint).filter(action__in=actions)
    live = _live(endpoint, visit)
    return {
        **endpoints.about(visit, endpoint, "secret"),
        "form": RotationForm(initial={"scheme": live[0].scheme} if live else None),
        "secrets": live,
        "public": public_key_of(live[0].key) if live else "",
        "history": history.order_by("-at")[:_HISTORY],
        "snippets": verifying(live[0].scheme if live else "v1"),
    }


def _live(endpoint: Endpoint, visit: Visit) -> list[SigningSecret]:
    now = timezone.now()
    rows = SigningSecret.objects.using(visit.using).filter(endpoint=endpoint).order_by("-created_at", "-pk")
    return [row for row in rows if row.is_live(now)]


def public_key_of(secret: str) -> str:
    """Return the ``whpk_…`` by which a receiver verifies what a ``whsk_…`` signs; empty for a shared secret."""
    return signing.public_key(secret) if signing.scheme_of(secret) == "v1a" else ""


def _record(action: str, endpoint: Endpoint, visit: Visit, **values: Any) -> None:
    assert visit.caller is not None  # noqa: S101 - frame.page lets nobody else in
    audit.record(action, endpoint, caller=visit.caller, using=visit.using, **values)

"""Who of the staff asks."""

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from django_relay.models import callers
from django_relay.rules.access import Caller


def caller_of(request: HttpRequest) -> Caller:
    """Return the staff user of a request, from the address that the server itself saw.

    Raises:
        PermissionDenied: it is none; an admin site of the host's may let others in.
    """
    caller = callers.of_staff(request.user, address=str(request.META.get("REMOTE_ADDR", "")))
    if caller is None:
        raise PermissionDenied
    return caller

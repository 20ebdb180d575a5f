"""Who calls: how a :class:`~django_relay.rules.access.Caller` is made of each kind of credential.

Of an API key by ``key.caller()``, of a portal session by ``session.caller()``; of the host's own people here. No
credential stands in for another: a portal session is never staff, and staff never a tenant.
"""

from typing import TYPE_CHECKING

from django.http import HttpRequest
from django.utils.module_loading import import_string

from django_relay import conf, exceptions
from django_relay.rules import access
from django_relay.rules.access import Caller, Member

if TYPE_CHECKING:  # a host need not have them installed
    from django.contrib.auth.models import AbstractUser, AnonymousUser


def of_staff(user: "AbstractUser | AnonymousUser | None", *, address: str = "") -> Caller | None:
    """Return a staff user as an operator, with the scopes that its permissions give; ``None`` if it is not staff.

    :data:`django_relay.rules.access.NEEDED_PERMISSIONS` says which permissions give which scope.
    """
    if user is None or not getattr(user, "is_staff", False) or not user.is_active:
        return None
    scopes = frozenset(scope for scope, needed in access.NEEDED_PERMISSIONS.items() if user.has_perms(needed))
    return Caller(actor=f"staff:{user.pk}", scopes=scopes, address=address)


def of_user(request: HttpRequest, *, address: str = "") -> Caller | None:
    """Return the host's own user as a caller of the tenant that ``TENANT_RESOLVER`` names; ``None`` for nobody.

    Raises:
        RelayConfigurationError: the resolver cannot be loaded, or returned something else than a tenant id, a
            :class:`~django_relay.rules.access.Member` with capabilities that there are, or ``None``.
    """
    member = _resolve(request)
    if member is None:
        return None
    user = getattr(request, "user", None)
    known = user is not None and user.is_authenticated
    return Caller(
        actor=f"user:{user.pk}" if known and user is not None else "user:unknown",
        scopes=access.granted(member.capabilities, access.GRANTED_BY_CAPABILITY),
        application=member.application,
        tenant_id=member.tenant_id,
        address=address,
    )


def _resolve(request: HttpRequest) -> Member | None:
    resolver = conf.settings.TENANT_RESOLVER
    if resolver is None:
        return None
    try:
        resolve = import_string(resolver) if isinstance(resolver, str) else resolver
    except ImportError as error:
        raise exceptions.RelayConfigurationError(
            f"DJANGO_RELAY['TENANT_RESOLVER'] cannot be loaded: {error}"
        ) from error
    found = resolve(request)
    if found is None or isinstance(found, Member):
        return found
    if isinstance(found, str) and found:
        return Member(found)
    # "" is the global tenant: nobody gets there by an empty field of a user.
    raise exceptions.RelayConfigurationError(
        "TENANT_RESOLVER must return a tenant id, a Member or None (for nobody); "
        f"it returned {'an empty text' if found == '' else type(found).__name__}."
    )

"""API keys: what programs call the API with, for one tenant or as an operator."""

from collections.abc import Iterable
from datetime import datetime
from functools import partial
from typing import Any, Self

from django.core.exceptions import ValidationError
from django.db import models, router, transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from django_relay import exceptions
from django_relay.fields import PrefixedIdField
from django_relay.models import audit, validation, writing
from django_relay.models.application import Application
from django_relay.models.portal_session import PortalSession
from django_relay.rules import access, texts, tokens
from django_relay.rules.access import Caller


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    """API keys by owner and state."""

    def for_tenant(self, tenant_id: str, application: str = "default") -> Self:
        """Keys of one tenant, whatever their state."""
        return self.filter(tenant_id=tenant_id, application__slug=application)

    def live(self, now: datetime) -> Self:
        """Keys that open the API at ``now``."""
        return self.filter(models.Q(expires_at__isnull=True) | models.Q(expires_at__gt=now), revoked_at__isnull=True)

    def ended_before(self, moment: datetime) -> Self:
        """Keys that were revoked or had expired by then."""
        return self.filter(models.Q(revoked_at__lt=moment) | models.Q(expires_at__lt=moment))


_Manager = models.Manager.from_queryset(ApiKeyQuerySet)


class ApiKeyManager(_Manager["ApiKey"]):
    """How keys are made and recognised.

    Methods of the manager itself: Django's way from a manager to a queryset's methods would show tokens in tracebacks.
    """

    @sensitive_variables("token")
    def issue(
        self,
        *,
        tenant_id: str | None = None,
        operator: bool = False,
        application: str = "default",
        scopes: Iterable[str] = ("read",),
        name: str = "",
        expires_at: datetime | None = None,
        caller: Caller = access.SYSTEM,
        now: datetime | None = None,
    ) -> "tuple[ApiKey, str]":
        """Make a key and return it with its token, which is stored nowhere: show it now or never.

        A key belongs to a tenant of an application, or is an operator's: one of the two must be said, so that a tenant
        id that is missing by mistake makes no operator. Recorded as ``api_key.created``.

        Raises:
            ValidationError: a field is wrong; by field, with a stable code (``bad_scope``, ``operator_scope``,
                ``bad_tenant_id``, ``bad_name``, ``bad_expiry``).
            UnknownApplication: no application has that slug.
            NotAllowed: the caller is no operator, or lacks what the key would grant.
        """
        now, using = now or timezone.now(), writing.alias_of(self.all())
        if operator == (tenant_id is not None):
            problem = "Say whose key it is: a tenant's (tenant_id) or an operator's (operator), not both."
            raise ValidationError({"tenant_id": ValidationError(problem, code="bad_tenant_id")})
        if expires_at is not None and expires_at <= now:
            problem = "The key would have expired already: give a time to come."
            raise ValidationError({"expires_at": ValidationError(problem, code="bad_expiry")})
        owner = None if operator else Application.objects.using(using).named(application)
        token = tokens.generate(tokens.API_KEY, tokens.generate_public_part())
        key = self.model(
            application=owner,
            tenant_id=tenant_id or "",
            name=name,
            prefix=token.rpartition("_")[0],
            hash=tokens.digest(token),
            scopes=scopes,
            expires_at=expires_at,
            created_by=caller.actor,
            created_at=now,
        )
        key.full_clean({"scopes"}, validate_unique=False, validate_constraints=False)
        access.check_grant(caller, key.scopes, operator=operator)
        with transaction.atomic(using):
            key.save(using=using, force_insert=True)
            audit.record("api_key.created", key, caller=caller, after=key.told(), at=now, using=using)
        return key, token

    @sensitive_variables("token")
    def authenticate(self, token: object, *, now: datetime) -> "ApiKey | None":
        """Return the live key that the token is of, its application loaded; ``None`` for anything else.

        One query, and at most once a minute the UPDATE that notes its use. A revoked key is refused at once: the
        answer always comes from the database that is written to.
        """
        public = tokens.public_part(token, kind=tokens.API_KEY)
        if public is None:
            return None
        using = writing.alias_of(self.all())
        prefix = f"{tokens.API_KEY}{public}"
        key = self.using(using).select_related("application").filter(prefix=prefix).first()
        if not tokens.matches(str(token), key.hash if key else tokens.NO_DIGEST) or key is None:
            return None
        if not key.is_live(now):
            return None
        writing.note_time(key, "last_used_at", now, using=using)
        return key


class ApiKey(models.Model):
    """One API key: ``rlk_<12 characters>_<43 characters>``; its first part is shown, the whole is hashed."""

    id = PrefixedIdField("key_", primary_key=True)
    application = models.ForeignKey(
        Application,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="api_keys",
        verbose_name=_("application"),
        help_text=_("Empty for an operator's key."),
    )
    tenant_id = models.CharField(_("tenant"), max_length=255, blank=True)
    name = models.CharField(_("name"), max_length=200, blank=True)
    prefix = models.CharField(_("prefix"), max_length=32, unique=True, editable=False)
    hash = models.CharField(_("hash"), max_length=64, editable=False)
    scopes = models.JSONField(_("scopes"))
    expires_at = models.DateTimeField(_("expires at"), null=True, blank=True)
    last_used_at = models.DateTimeField(_("last used at"), null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(_("revoked at"), null=True, blank=True, editable=False)
    created_by = models.CharField(_("created by"), max_length=255, editable=False)
    created_at = models.DateTimeField(_("created at"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)

    objects = ApiKeyManager()

    class Meta:
        verbose_name = _("API key")
        verbose_name_plural = _("API keys")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(application__isnull=False) | models.Q(tenant_id=""),
                name="relay_api_key_operator_has_no_tenant",
            ),
        ]

    def __str__(self) -> str:
        return self.prefix

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the key, checked.

        Raises:
            ValidationError: by field, with a stable code.
        """
        self.clean()
        super().save(*args, **kwargs)

    def clean(self) -> None:
        """Check and normalise what was chosen of the key.

        Raises:
            ValidationError: by field, with a stable code.
        """
        scopes = partial(access.validate_key_scopes, operator=self.is_operator)
        validation.apply(self, {**_RULES, "scopes": scopes})

    @property
    def is_operator(self) -> bool:
        """Whether it acts for the host, and not for one tenant."""
        return self.application_id is None

    def is_live(self, now: datetime) -> bool:
        """Return whether it opens the API at ``now``."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)

    def caller(self, *, address: str = "") -> Caller:
        """Return who calls with this key."""
        return Caller(
            actor=f"key:{self.pk}",
            scopes=access.granted(self.scopes, access.GRANTED_BY_KEY_SCOPE),
            application=self.application.slug if self.application else None,
            tenant_id=self.tenant_id if self.application else None,
            address=address,
        )

    def revoke(self, *, caller: Caller = access.SYSTEM, now: datetime | None = None) -> bool:
        """End the key and the portal sessions made with it, from the next request on; return whether it was live.

        Recorded as ``api_key.revoked``.
        """
        now, using = now or timezone.now(), self._state.db or router.db_for_write(type(self), instance=self)
        return _revoke(self, caller=caller, now=now, using=using)

    def told(self) -> dict[str, Any]:
        """Return what an audit entry tells of it."""
        return {name: getattr(self, name) for name in ("name", "prefix", "scopes", "expires_at")}


@writing.in_transaction
def _revoke(key: ApiKey, *, caller: Caller, now: datetime, using: str) -> bool:
    rows = ApiKey.objects.using(using).filter(pk=key.pk, revoked_at__isnull=True)
    revoked = bool(rows.update(revoked_at=now, updated_at=now))
    key.refresh_from_db(using=using, fields=["revoked_at", "updated_at"])
    if revoked:
        audit.record("api_key.revoked", key, caller=caller, at=now, using=using)
        made = PortalSession.objects.using(using).filter(created_by=f"key:{key.pk}")
        made.revoke_all(caller=caller, now=now)
    return revoked


def _name(value: object) -> str:
    text = texts.validate_text(value, code="bad_name")
    if not text.isprintable():  # it stands in lists and on terminals
        raise exceptions.InvalidInput("A key's name is one line of printable characters.", code="bad_name")
    return text


_RULES: validation.Rules = {
    "tenant_id": partial(texts.validate_text, code="bad_tenant_id"),
    "name": _name,
}

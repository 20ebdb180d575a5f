"""Endpoints: a tenant's URL and what it subscribes to."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Self, Unpack

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, router, transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_relay import conf, exceptions
from django_relay.fields import EncryptedField, PrefixedIdField
from django_relay.models import audit, endpoint_choices, facts, validation, writing
from django_relay.models.application import Application
from django_relay.models.signing_secret import SigningSecret
from django_relay.models.tenant_lock import TenantLock
from django_relay.rules import signing
from django_relay.rules.access import Caller

MAX_TIMEOUT_SECONDS = 30

_TRANSITIONAL = {
    "enabled", "disabled_reason", "disabled_at", "failing_since", "last_success_at", "deleted_at", "created_at",
}  # fmt: skip


_JSON_FIELDS = {"event_types", "filters", "retry_schedule", "metadata"}


class EndpointQuerySet(models.QuerySet["Endpoint"]):
    """Endpoints by state and owner."""

    def for_tenant(self, tenant_id: str, application: str = "default") -> Self:
        """Endpoints of one tenant that are not deleted."""
        return self.filter(tenant_id=tenant_id, application__slug=application, deleted_at__isnull=True)

    def open(self) -> Self:
        """Endpoints that take deliveries."""
        return self.filter(enabled=True, deleted_at__isnull=True)

    def register(
        self,
        *,
        tenant_id: str,
        url: str,
        event_types: Sequence[str],
        application: str = "default",
        secret: str = "",
        caller: Caller | None = None,
        **choices: Unpack[endpoint_choices.Choices],
    ) -> "Endpoint":
        """Store a new endpoint with its first signing secret and return it.

        Without ``secret`` one is generated; read it from ``endpoint.secrets[0]`` and show it to the tenant. The audit
        names the ``caller``; what the host's own code does, which has none, is not on record. Further arguments are
        the fields of :class:`~django_relay.models.endpoint_choices.Choices`.

        Raises:
            ValidationError: a field is wrong; by field, with a stable code. Nothing is stored.
            UnknownApplication: no application has that slug.
            LimitReached: ``too_many_endpoints``, the tenant has ``MAX_ENDPOINTS_PER_TENANT``.
            TypeError: there is no such argument.
        """
        if not set(choices) <= set(endpoint_choices.Choices.__annotations__):
            raise TypeError(
                f"register() takes {', '.join(endpoint_choices.Choices.__annotations__)}; got {', '.join(choices)}."
            )
        owner = Application.objects.using(self.db).named(application)
        endpoint = self.model(application=owner, tenant_id=tenant_id, url=url, event_types=event_types, **choices)
        # What must be unique or hold in a row is the database's to say, of the database that is written to.
        # Django's check of JSON fields lets some values raise; our own rules are the stricter ones.
        endpoint.full_clean(_JSON_FIELDS, validate_unique=False, validate_constraints=False)
        try:
            secret = signing.validate_secret(secret) if secret else signing.generate_secret()
        except exceptions.InvalidSecret as error:
            raise ValidationError({"secret": ValidationError(str(error), code=error.code)}) from error
        with transaction.atomic(self.db):
            self._make_sure_of_room(owner, tenant_id)
            endpoint.save(using=self.db, force_insert=True)
            SigningSecret.objects.using(self.db).create(endpoint=endpoint, key=secret)
            if caller is not None:
                audit.record("endpoint.created", endpoint, caller=caller, after=endpoint.told(), using=self.db)
        return endpoint

    def _make_sure_of_room(self, application: Application, tenant_id: str) -> None:
        most: int | None = conf.settings.MAX_ENDPOINTS_PER_TENANT
        if most is None:
            return
        TenantLock.objects.using(self.db).take(application.pk, tenant_id)
        if Endpoint.objects.using(self.db).for_tenant(tenant_id, application.slug).count() >= most:
            raise exceptions.LimitReached(
                f"The tenant has {most} endpoints, and may have no more; delete one first.", code="too_many_endpoints"
            )

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete each endpoint as :meth:`Endpoint.delete` does; return how many were not deleted before."""
        count = sum(endpoint.delete()[0] for endpoint in self)
        return count, {self.model._meta.label: count}


class Endpoint(models.Model):
    """Where a tenant wants its events. Deleting keeps the row for its history and destroys its secrets."""

    class Reason(models.TextChoices):
        """Why an endpoint is disabled."""

        TENANT = "tenant", _("by the tenant")
        STAFF = "staff", _("by staff")
        GONE = "gone", _("the receiver answered 410 Gone")
        FAILING = "failing", _("nothing but failures for too long")

    class Format(models.TextChoices):
        """What the body looks like (see ``rules.envelopes``)."""

        STANDARD = "standard", _("Standard Webhooks envelope")
        RAW = "raw", _("the data alone")
        CLOUDEVENTS = "cloudevents", _("CloudEvents 1.0, structured")

    id = PrefixedIdField("ep_", primary_key=True)
    application = models.ForeignKey(
        Application,
        on_delete=models.PROTECT,
        related_name="endpoints",
        verbose_name=_("application"),
    )
    tenant_id = models.CharField(_("tenant"), max_length=255, blank=True)
    url = models.CharField(_("URL"), max_length=2048)
    description = models.CharField(_("description"), max_length=500, blank=True)
    event_types = models.JSONField(
        _("event types"), help_text=_("Patterns such as invoice.paid, invoice.*, invoice.** or *.")
    )
    filters = models.JSONField(_("filters"), default=dict, blank=True)
    headers = EncryptedField(_("headers"), default=dict, blank=True)
    enabled = models.BooleanField(_("enabled"), default=True)
    disabled_reason = models.CharField(_("disabled reason"), max_length=16, choices=Reason.choices, blank=True)
    disabled_at = models.DateTimeField(_("disabled at"), null=True, blank=True)
    rate_limit = models.PositiveIntegerField(
        _("rate limit"),
        default=0,
        validators=[MaxValueValidator(10_000)],
        help_text=_("Requests a second; 0 is no limit."),
    )
    format = models.CharField(_("format"), max_length=16, choices=Format.choices, default=Format.STANDARD)
    retry_schedule = models.JSONField(
        _("retry schedule"),
        null=True,
        blank=True,
        help_text=_("Seconds to wait after each failure."),
    )
    timeout_seconds = models.PositiveSmallIntegerField(
        _("timeout"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_TIMEOUT_SECONDS)],
        help_text=_("Seconds; empty is the project's."),
    )
    metadata = models.JSONField(_("metadata"), default=dict, blank=True)
    failing_since = models.DateTimeField(_("failing since"), null=True, blank=True)
    last_success_at = models.DateTimeField(_("last success at"), null=True, blank=True)
    deleted_at = models.DateTimeField(_("deleted at"), null=True, blank=True)
    created_at = models.DateTimeField(_("created at"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)

    health_read_at: datetime | None = None
    """When ``pipeline.health`` last compared this instance with its row; not stored."""

    objects = EndpointQuerySet.as_manager()

    class Meta:
        verbose_name = _("endpoint")
        verbose_name_plural = _("endpoints")
        permissions = [("test_endpoint", "Can send a test event")]
        indexes = [
            models.Index(
                fields=["application", "tenant_id"],
                condition=models.Q(deleted_at__isnull=True),
                name="relay_endpoint_owner",
            ),
            # What staff look for: a tenant in every application, and what is wrong.
            models.Index(fields=["tenant_id", "id"], name="relay_endpoint_tenant"),
            models.Index(
                fields=["id"],
                condition=models.Q(failing_since__isnull=False, deleted_at__isnull=True),
                name="relay_endpoint_failing",
            ),
            models.Index(
                fields=["enabled", "id"], condition=models.Q(deleted_at__isnull=True), name="relay_endpoint_enabled"
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(deleted_at__isnull=True) | models.Q(enabled=False),
                name="relay_endpoint_deleted_is_disabled",
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)

    # Validation

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save what was chosen of the endpoint, checked; what its transitions write stays as it is in the database.

        So neither a spoilt row nor a stale instance gets past the rules. ``update_fields`` writes just what it names.

        Raises:
            ValidationError: by field, with the rule's code.
        """
        names = kwargs.get("update_fields")
        if names is None and not self._state.adding:
            kept = {*_TRANSITIONAL, "id"}
            names = [field.name for field in self._meta.concrete_fields if field.name not in kept]
            kwargs["update_fields"] = names
        validation.apply(self, endpoint_choices.RULES, names=names)
        super().save(*args, **kwargs)

    def clean(self) -> None:
        """Check and normalise what the tenant chose.

        Raises:
            ValidationError: by field, with the rule's code.
        """
        validation.apply(self, endpoint_choices.RULES)

    def change(self, *, caller: Caller | None = None, **choices: Unpack[endpoint_choices.Changes]) -> None:
        """Give a stored endpoint other choices, checked; those left out stay as they are in the database.

        The audit names the ``caller``, as in :meth:`EndpointQuerySet.register`.

        Raises:
            ValidationError: a field is wrong; by field, with a stable code. Nothing is changed.
            WrongState: ``endpoint_deleted``: it was deleted meanwhile.
            TypeError: there is no such choice; whose it is and its state are none.
        """
        if unknown := sorted(choices.keys() - endpoint_choices.CHANGEABLE):
            known = ", ".join(sorted(endpoint_choices.CHANGEABLE))
            raise TypeError(f"change() takes {known}; got {', '.join(unknown)}.")
        for name, value in choices.items():
            setattr(self, name, value)
        unchecked = {field.name for field in self._meta.concrete_fields if field.name not in choices}
        self.full_clean(unchecked | _JSON_FIELDS, validate_unique=False, validate_constraints=False)
        _rewrite(self, sorted(choices), caller, using=self._using)

    def told(self) -> dict[str, Any]:
        """Return what an audit entry tells of it: of headers that they changed, and no value."""
        return {name: getattr(self, name) for name in sorted(endpoint_choices.CHANGEABLE)}

    # Transitions

    def disable(self, reason: str = Reason.STAFF, *, at: datetime | None = None) -> bool:
        """Stop delivering to this endpoint; what is pending is held until it is enabled.

        Returns whether it was enabled before. Sends ``endpoint_disabled`` after commit.

        Raises:
            ValueError: ``reason`` is none of :class:`Reason`.
        """
        at = at or timezone.now()
        return self._change({"enabled": True}, self.disabling(reason, at=at), fact="endpoint.disabled")

    @classmethod
    def disabling(cls, reason: str, *, at: datetime) -> dict[str, Any]:
        """Return the values of the fields that change when an endpoint is disabled."""
        return {"enabled": False, "disabled_reason": cls.Reason(reason), "disabled_at": at, "updated_at": at}

    def enable(self, *, as_tenant: bool = False) -> bool:
        """Deliver to this endpoint again; what was held becomes due. Returns whether anything changed.

        Its health starts anew: how long and how often it failed before counts no more.

        Raises:
            WrongState: ``disabled_by_staff``: what staff stopped its tenant cannot start again (``as_tenant``).
        """
        if as_tenant and not self.enabled and self.disabled_reason == self.Reason.STAFF:
            raise exceptions.WrongState("Staff disabled the endpoint; ask them.", code="disabled_by_staff")
        opened = {"enabled": True, "disabled_reason": "", "disabled_at": None, "failing_since": None}
        return self._change(
            {"enabled": False, "deleted_at": None}, {**opened, "updated_at": timezone.now()}, fact="endpoint.enabled"
        )

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Delete the endpoint: no more deliveries, secrets and headers destroyed, the row kept for its history.

        Its pending deliveries are cancelled by upkeep, in batches. Takes and returns what Django's ``delete`` does; the
        count is 0 if it was deleted before.
        """
        count = int(_destroy(self, now=timezone.now(), using=self._using))
        return count, {self._meta.label: count}

    def rotate_secret(self, overlap: timedelta | None = None, *, secret: str = "", scheme: str = "v1") -> str:
        """Make a new signing secret current and return it; the old ones sign for ``overlap`` more.

        Args:
            overlap: how long; default ``SECRET_OVERLAP_SECONDS``. Zero ends the old ones now.
            secret: a secret of the tenant's own instead of a generated one.
            scheme: ``v1`` (HMAC-SHA256) or ``v1a`` (Ed25519) of the generated one.

        Raises:
            InvalidSecret: ``secret`` is malformed.
            InvalidInput: ``endpoint_deleted``, a deleted endpoint has no secrets.
        """
        if overlap is None:
            overlap = timedelta(seconds=conf.settings.SECRET_OVERLAP_SECONDS)
        key = signing.validate_secret(secret) if secret else signing.generate_secret(scheme)
        _rotate(self, key, overlap, now=timezone.now(), using=self._using)
        return key

    # Queries

    @property
    def secrets(self) -> list[str]:
        """The live signing secrets, newest first; decrypted by this very read."""
        return self.secrets_at(timezone.now())

    def secrets_at(self, now: datetime) -> list[str]:
        """Return the signing secrets that are live at ``now``, newest first; uses prefetched rows."""
        live = [row for row in self.signing_secrets.all() if row.is_live(now)]
        return [row.key for row in sorted(live, key=lambda row: (row.created_at, row.pk), reverse=True)]

    @property
    def schedule(self) -> Sequence[float]:
        """Seconds to wait after each failed attempt: its own, else the project's."""
        return endpoint_choices.schedule_of(self.retry_schedule)

    @property
    def _using(self) -> str:
        return self._state.db or router.db_for_write(type(self), instance=self)

    def _change(self, where: dict[str, Any], values: dict[str, Any], *, fact: str) -> bool:
        """Write ``values`` if the row still is as ``where`` says; return whether it was."""
        with transaction.atomic(self._using):
            rows = type(self).objects.using(self._using).filter(pk=self.pk, **where)
            changed = bool(rows.update(**values))
            self.refresh_from_db(fields=[*values, "deleted_at"])
            if changed:
                facts.tell([(fact, self)], now=values["updated_at"], using=self._using)
        return changed


@writing.in_transaction
def _rewrite(endpoint: Endpoint, names: Sequence[str], caller: Caller | None, *, using: str) -> None:
    rows = Endpoint.objects.using(using).filter(pk=endpoint.pk, deleted_at__isnull=True)
    stored = rows.select_for_update().first()
    if stored is None:
        raise exceptions.WrongState("The endpoint was deleted.", code="endpoint_deleted")
    endpoint.save(using=using, update_fields=[*names, "updated_at"])
    if caller is not None:
        before = stored.told()
        after = {**before, **{name: getattr(endpoint, name) for name in names}}
        audit.record("endpoint.updated", endpoint, caller=caller, before=before, after=after, using=using)


@writing.in_transaction
def _destroy(endpoint: Endpoint, *, now: datetime, using: str) -> bool:
    rows = Endpoint.objects.using(using).filter(pk=endpoint.pk, deleted_at__isnull=True)
    if rows.select_for_update().first() is None:  # a rotation under way ends first
        return False
    endpoint.headers, endpoint.enabled, endpoint.deleted_at = {}, False, now
    endpoint.disabled_at = endpoint.disabled_at or now
    endpoint.save(using=using, update_fields=["headers", "enabled", "disabled_at", "deleted_at", "updated_at"])
    SigningSecret.objects.using(using).filter(endpoint=endpoint).delete()
    facts.tell([("endpoint.deleted", endpoint)], now=now, using=using)
    return True


@writing.in_transaction
def _rotate(endpoint: Endpoint, key: str, overlap: timedelta, *, now: datetime, using: str) -> None:
    rows = Endpoint.objects.using(using).filter(pk=endpoint.pk, deleted_at__isnull=True)
    if rows.select_for_update().first() is None:
        raise exceptions.InvalidInput("A deleted endpoint has no secrets.", code="endpoint_deleted")
    secrets = SigningSecret.objects.using(using)
    live = models.Q(expires_at__isnull=True) | models.Q(expires_at__gt=now + overlap)
    secrets.filter(live, endpoint=endpoint).update(expires_at=now + overlap)
    secrets.create(endpoint=endpoint, key=key)
    facts.tell([("secret.rotated", endpoint)], now=now, using=using)

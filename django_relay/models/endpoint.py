"""Endpoints: a tenant's URL and what it subscribes to."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Self

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_relay import conf, exceptions, signals
from django_relay.fields import EncryptedField, PrefixedIdField
from django_relay.models.application import Application
from django_relay.models.signing_secret import SigningSecret
from django_relay.rules import event_names, filters, headers, signing, texts
from django_relay.transport import addresses

MAX_TIMEOUT_SECONDS = 30
_MAX_PATTERNS = 100


def parse_url(url: object) -> addresses.Target:
    """Return the parsed URL under the project's policy.

    Raises:
        UnsafeURL: policy does not allow it.
    """
    return addresses.parse(
        url,
        allow_http=conf.settings.ALLOW_HTTP,
        allowed_networks=conf.settings.ALLOWED_NETWORKS,
    )


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
        **values: Any,
    ) -> "Endpoint":
        """Store a new endpoint with its first signing secret and return it.

        Further keyword arguments are fields: ``description``, ``filters``, ``headers``, ``rate_limit``, ``format``,
        ``retry_schedule``, ``timeout_seconds``, ``metadata``. Without ``secret`` one is generated; read it from
        ``endpoint.secrets[0]`` and show it to the tenant.

        Raises:
            ValidationError: a field is wrong; by field, with a stable code. Nothing is stored.
            UnknownApplication: no application has that slug.
        """
        owner = Application.objects.using(self.db).filter(slug=application).first()
        if owner is None:
            raise exceptions.UnknownApplication(f"There is no application {application!r}.")
        endpoint = self.model(application=owner, tenant_id=tenant_id, url=url, event_types=event_types, **values)
        # What must be unique or hold in a row is the database's to say, of the database that is written to.
        endpoint.full_clean(validate_unique=False, validate_constraints=False)
        try:
            secret = signing.validate_secret(secret) if secret else signing.generate_secret()
        except exceptions.InvalidSecret as error:
            raise ValidationError({"secret": ValidationError(str(error), code=error.code)}) from error
        with transaction.atomic(self.db):
            endpoint.save(using=self.db, force_insert=True)
            SigningSecret.objects.using(self.db).create(endpoint=endpoint, key=secret)
        return endpoint


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
        _("rate limit"), default=0, help_text=_("Requests a second; 0 is no limit.")
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

    objects = EndpointQuerySet.as_manager()

    class Meta:
        verbose_name = _("endpoint")
        verbose_name_plural = _("endpoints")
        indexes = [
            models.Index(
                fields=["application", "tenant_id"],
                condition=models.Q(deleted_at__isnull=True),
                name="relay_endpoint_owner",
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

    def clean(self) -> None:
        """Check and normalise what the tenant chose.

        Raises:
            ValidationError: by field, with the rule's code.
        """
        errors: dict[str, ValidationError] = {}
        checks: dict[str, Callable[[], object]] = {
            "url": lambda: parse_url(self.url).url,
            "event_types": lambda: _patterns(self.event_types),
            "filters": lambda: filters.validate(self.filters),
            "headers": lambda: headers.validate(self.headers),
            "retry_schedule": lambda: _schedule(self.retry_schedule),
            "tenant_id": lambda: _tenant_id(self.tenant_id),
            "description": lambda: _storable(self.description, "bad_description"),
            "metadata": lambda: _storable(self.metadata, "bad_metadata"),
        }
        for name, check in checks.items():
            try:
                setattr(self, name, check())
            except exceptions.InvalidInput as error:
                errors[name] = ValidationError(str(error), code=error.code)
        if errors:
            raise ValidationError(errors)

    # Transitions

    def disable(self, reason: str = Reason.STAFF, *, at: datetime | None = None) -> bool:
        """Stop delivering to this endpoint; what is pending is held until it is enabled.

        Returns whether it was enabled before. Sends ``endpoint_disabled`` after commit.
        """
        at = at or timezone.now()
        changed = self._open_rows().update(
            enabled=False, disabled_reason=self.Reason(reason), disabled_at=at, updated_at=at
        )
        self.refresh_from_db(fields=["enabled", "disabled_reason", "disabled_at", "updated_at"])
        if changed:
            transaction.on_commit(
                lambda: signals.endpoint_disabled.send_robust(type(self), instance=self),
                using=self._state.db,
            )
        return bool(changed)

    def enable(self) -> bool:
        """Deliver to this endpoint again; what was held becomes due. Returns whether anything changed."""
        now = timezone.now()
        changed = (
            type(self)
            .objects.using(self._state.db)
            .filter(pk=self.pk, enabled=False, deleted_at__isnull=True)
            .update(
                enabled=True,
                disabled_reason="",
                disabled_at=None,
                failing_since=None,
                updated_at=now,
            )
        )
        self.refresh_from_db(fields=["enabled", "disabled_reason", "disabled_at", "failing_since", "updated_at"])
        return bool(changed)

    def soft_delete(self) -> None:
        """Delete the endpoint: no more deliveries, secrets and headers destroyed, history kept.

        Its pending deliveries are cancelled by upkeep, in batches.
        """
        now = timezone.now()
        using = self._state.db
        with transaction.atomic(using):
            self.headers, self.enabled, self.deleted_at = {}, False, now
            self.save(update_fields=["headers", "enabled", "deleted_at", "updated_at"])
            SigningSecret.objects.using(using).filter(endpoint=self).delete()

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
        if self.deleted_at is not None:
            raise exceptions.InvalidInput("A deleted endpoint has no secrets.", code="endpoint_deleted")
        now = timezone.now()
        if overlap is None:
            overlap = timedelta(seconds=conf.settings.SECRET_OVERLAP_SECONDS)
        key = signing.validate_secret(secret) if secret else signing.generate_secret(scheme)
        using = self._state.db
        with transaction.atomic(using):
            rows = SigningSecret.objects.using(using)
            rows.filter(
                models.Q(expires_at__isnull=True) | models.Q(expires_at__gt=now + overlap), endpoint=self
            ).update(expires_at=now + overlap)
            rows.create(endpoint=self, key=key)
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

    def wants(self, event_type: str, attributes: Mapping[str, Any]) -> bool:
        """Return whether this endpoint subscribes to such an event."""
        return any(event_names.matches(pattern, event_type) for pattern in self.event_types) and filters.accepts(
            self.filters, attributes
        )

    @property
    def schedule(self) -> Sequence[float]:
        """Seconds to wait after each failed attempt: its own, else the project's."""
        own: Sequence[float] | None = self.retry_schedule
        return conf.settings.RETRY_SCHEDULE if own is None else own

    def _open_rows(self) -> EndpointQuerySet:
        return type(self).objects.using(self._state.db).filter(pk=self.pk, enabled=True)


def _patterns(value: object) -> list[str]:
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= _MAX_PATTERNS:
        raise exceptions.InvalidPattern(
            f"Give a list of 1 to {_MAX_PATTERNS} patterns, such as ['invoice.*'].",
            code="wrong_type",
        )
    return [event_names.validate_pattern(pattern) for pattern in value]


def _schedule(value: object) -> list[float] | None:
    if value is None:
        return None
    if not isinstance(value, list | tuple) or len(value) > 50:
        raise exceptions.InvalidInput("Give a list of at most 50 waits, in seconds.", code="wrong_type")
    for wait in value:
        if isinstance(wait, bool) or not isinstance(wait, int | float) or not 0 < wait <= 30 * conf.DAY_SECONDS:
            raise exceptions.InvalidInput(
                "Each wait is a number of seconds, more than 0 and at most 30 days.",
                code="bad_retry_schedule",
            )
    return list(value)


def _tenant_id(value: object) -> str:
    if not isinstance(value, str):
        raise exceptions.InvalidInput("A tenant is named by text.", code="bad_tenant_id")
    return str(_storable(value, "bad_tenant_id"))


def _storable(value: object, code: str) -> object:
    if not texts.is_storable_json(value):
        raise exceptions.InvalidInput("NUL, halves of surrogate pairs and NaN cannot be stored.", code=code)
    return value

"""Portal sessions: a short-lived right of one person to one tenant's portal.

A session begins as a link (:meth:`PortalSessionManager.invite`) that somebody may exchange once for the session's own
token (:meth:`PortalSessionManager.exchange`), which a cookie carries from then on
(:meth:`PortalSessionManager.authenticate`). Both tokens are stored as hashes alone.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Self

from django.core.exceptions import ValidationError
from django.db import models, router, transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from django_relay import conf, exceptions, ids
from django_relay.fields import PrefixedIdField
from django_relay.models import audit, validation, writing
from django_relay.models.application import Application
from django_relay.rules import access, origins, texts, themes, tokens
from django_relay.rules.access import Caller

MAX_LINK_SECONDS = 600
MIN_SESSION_SECONDS = 60
MIN_IDLE_SECONDS = 120
"""Use is noted once a minute, so that a session which is used may look idle for that long."""


class PortalSessionQuerySet(models.QuerySet["PortalSession"]):
    """Portal sessions by owner and state."""

    def for_tenant(self, tenant_id: str, application: str = "default") -> Self:
        """Sessions of one tenant, whatever their state."""
        return self.filter(tenant_id=tenant_id, application__slug=application)

    def live(self, now: datetime) -> Self:
        """Sessions that are open, or whose link can still be used; those that only idle are among them."""
        usable = models.Q(used_at__isnull=False) | models.Q(link_expires_at__gt=now)
        return self.filter(usable, revoked_at__isnull=True, expires_at__gt=now)

    def ended_before(self, moment: datetime) -> Self:
        """Sessions whose time was over by then; those that were revoked or not used are among them a little later."""
        return self.filter(expires_at__lt=moment)

    def revoke_all(self, *, caller: Caller = access.SYSTEM, now: datetime | None = None) -> int:
        """End every live session among these, from the next request on; return how many there were.

        ``PortalSession.objects.for_tenant("acme").revoke_all()`` is what suspends a tenant. Each is recorded as
        ``portal_session.revoked``.
        """
        now, using = now or timezone.now(), writing.alias_of(self)
        return _revoke(self.using(using).live(now), caller=caller, now=now, using=using)


_Manager = models.Manager.from_queryset(PortalSessionQuerySet)


class PortalSessionManager(_Manager["PortalSession"]):
    """How sessions begin and are recognised.

    Methods of the manager itself: Django's way from a manager to a queryset's methods would show tokens in tracebacks.
    """

    @sensitive_variables("token")
    def invite(
        self,
        *,
        tenant_id: str,
        application: str = "default",
        capabilities: Iterable[str] = ("view",),
        theme: Mapping[str, Any] | None = None,
        return_url: str = "",
        expires_in_seconds: int | None = None,
        caller: Caller = access.SYSTEM,
        now: datetime | None = None,
    ) -> "tuple[PortalSession, str]":
        """Make a session of one tenant and return it with its link's token, which is stored nowhere.

        Whoever exchanges the token first, within ``PORTAL["LINK_SECONDS"]``, has the session, until
        ``expires_in_seconds`` from now (default and at most ``PORTAL["SESSION_SECONDS"]``). Recorded as
        ``portal_session.created``.

        Args:
            tenant_id: whose portal.
            application: the slug of its application.
            capabilities: of :data:`django_relay.rules.access.CAPABILITIES`; ``view`` is always among them.
            theme: how the portal looks (see :func:`django_relay.rules.themes.validate`).
            return_url: where people go from the portal; ``PORTAL["RETURN_URLS"]`` must allow it.
            expires_in_seconds: the life of the session, from now.
            caller: who makes it. Staff can give no more than they may themselves; keys and code that may make portal
                sessions can give every capability.
            now: the time; default now.

        Raises:
            ValidationError: a field is wrong; by field, with a stable code (``bad_tenant_id``, ``bad_capability``,
                ``bad_theme``, ``bad_return_url``, ``bad_expiry``).
            UnknownApplication: no application has that slug.
            NotAllowed: the caller may not make portal sessions, or not with these capabilities.
        """
        now, using = now or timezone.now(), writing.alias_of(self.all())
        caller.require("portal")
        seconds = _life(expires_in_seconds)
        session = self.model(
            id=ids.new("psess_"),
            application=Application.objects.using(using).named(application),
            tenant_id=tenant_id,
            capabilities=capabilities,
            theme=theme or {},
            return_url=return_url,
            expires_at=now + timedelta(seconds=seconds),
            link_expires_at=now + timedelta(seconds=min(seconds, _link_seconds())),
            created_by=caller.actor,
            opened_as_staff=caller.kind == "staff",
            created_at=now,
        )
        token = tokens.generate(tokens.PORTAL_LINK, session.pk.removeprefix("psess_"))
        session.link_hash = tokens.digest(token)
        session.full_clean({"capabilities", "theme"}, validate_unique=False, validate_constraints=False)
        if session.opened_as_staff:
            caller.require(*sorted(session.scopes))
        with transaction.atomic(using):
            session.save(using=using, force_insert=True)
            audit.record("portal_session.created", session, caller=caller, after=session.told(), at=now, using=using)
        return session, token

    @sensitive_variables("token", "session_token")
    def exchange(self, token: object, *, now: datetime, address: str = "") -> "tuple[PortalSession, str]":
        """Use a link: return its session with the session's own token, which is stored nowhere.

        Of any number of exchanges at once exactly one wins. Recorded as ``portal_session.used``, with ``address``.

        Raises:
            UnusableLink: ``link_unknown``, ``link_revoked``, ``link_used`` or ``link_expired``, with the ``return_url``
                of all but the first.
        """
        using = writing.alias_of(self.all())
        session = self.find(token, kind=tokens.PORTAL_LINK)
        if session is None:
            raise exceptions.UnusableLink("This link is not known: ask for a new one.", code="link_unknown")
        session_token = tokens.generate(tokens.PORTAL_SESSION, session.pk.removeprefix("psess_"))
        if _open(session, tokens.digest(session_token), now=now, address=address, using=using):
            return session, session_token
        code, problem = session.why_unusable(now)
        raise exceptions.UnusableLink(problem, code=code, return_url=session.return_url)

    @sensitive_variables("token")
    def authenticate(self, token: object, *, now: datetime) -> "PortalSession | None":
        """Return the open session that a session's token is of, its application loaded; ``None`` for anything else.

        One query, and at most once a minute the UPDATE that notes its use. To tell somebody whose session has ended
        where to go, use :meth:`find`.
        """
        using = writing.alias_of(self.all())
        session = self.find(token)
        if session is None or not session.is_open(now):
            return None
        writing.note_time(session, "seen_at", now, using=using)
        return session

    @sensitive_variables("token")
    def find(self, token: object, *, kind: str = tokens.PORTAL_SESSION) -> "PortalSession | None":
        """Return the session that a token is of, whatever its state; it lets nobody in."""
        key = f"psess_{tokens.public_part(token, kind=kind)}"
        try:
            ids.to_uuid(key, prefix="psess_")
        except ValueError:
            return None
        rows = self.using(writing.alias_of(self.all()))
        session = rows.select_related("application").filter(pk=key).first()
        stored = tokens.NO_DIGEST
        if session is not None:
            stored = session.link_hash if kind == tokens.PORTAL_LINK else session.session_hash
        return session if tokens.matches(str(token), stored) else None


class PortalSession(models.Model):
    """One person's right to one tenant's portal: first a link, then a session."""

    id = PrefixedIdField("psess_", primary_key=True)
    application = models.ForeignKey(
        Application, on_delete=models.PROTECT, related_name="portal_sessions", verbose_name=_("application")
    )
    tenant_id = models.CharField(_("tenant"), max_length=255, blank=True)
    capabilities = models.JSONField(_("capabilities"))
    theme = models.JSONField(_("theme"), default=dict, blank=True)
    return_url = models.CharField(_("return URL"), max_length=2048, blank=True)
    link_hash = models.CharField(_("link hash"), max_length=64, editable=False)
    link_expires_at = models.DateTimeField(_("link expires at"), editable=False)
    session_hash = models.CharField(_("session hash"), max_length=64, blank=True, editable=False)
    expires_at = models.DateTimeField(_("expires at"), editable=False)
    used_at = models.DateTimeField(_("used at"), null=True, blank=True, editable=False)
    seen_at = models.DateTimeField(_("seen at"), null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(_("revoked at"), null=True, blank=True, editable=False)
    created_by = models.CharField(_("created by"), max_length=255, editable=False)
    opened_as_staff = models.BooleanField(_("opened as staff"), default=False, editable=False)
    created_at = models.DateTimeField(_("created at"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)

    objects = PortalSessionManager()

    class Meta:
        verbose_name = _("portal session")
        verbose_name_plural = _("portal sessions")
        permissions = [("open_portal", "Can open the portal as a tenant")]
        indexes = [
            models.Index(fields=["expires_at"], name="relay_portal_session_age"),
            models.Index(fields=["application", "tenant_id"], name="relay_portal_session_tenant"),
        ]

    def __str__(self) -> str:
        return str(self.id)

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the session, checked.

        Raises:
            ValidationError: by field, with a stable code.
        """
        self.clean()
        super().save(*args, **kwargs)

    def clean(self) -> None:
        """Check and normalise what was chosen of the session.

        Raises:
            ValidationError: by field, with a stable code.
        """
        validation.apply(self, _RULES)

    @property
    def scopes(self) -> frozenset[str]:
        """What its capabilities let it do."""
        return access.granted(self.capabilities, access.GRANTED_BY_CAPABILITY)

    def caller(self, *, address: str = "") -> Caller:
        """Return who acts in this session."""
        return Caller(
            actor=f"portal:{self.pk}",
            scopes=self.scopes,
            application=self.application.slug,
            tenant_id=self.tenant_id,
            address=address,
        )

    def ends_at(self) -> datetime | None:
        """Return when the session ends if nothing more is asked of it; ``None`` if its link was not used."""
        if self.seen_at is None:
            return None
        idle = self.seen_at + timedelta(seconds=conf.settings.PORTAL["IDLE_SECONDS"])
        return min(idle, self.expires_at)

    def is_open(self, now: datetime) -> bool:
        """Return whether the session lets its person in: used, not revoked, not too old and not idle for too long."""
        ends_at = self.ends_at()
        return self.revoked_at is None and ends_at is not None and ends_at > now

    def why_unusable(self, now: datetime) -> tuple[str, str]:
        """Return code and message of what is wrong with the link; empty texts if nothing is."""
        if self.revoked_at is not None:
            return "link_revoked", "This link was withdrawn: ask for a new one."
        if self.used_at is not None:
            return "link_used", "This link was used already, and works once: ask for a new one."
        if self.link_expires_at <= now:
            return "link_expired", "This link is too old: ask for a new one."
        return "", ""

    def revoke(self, *, caller: Caller = access.SYSTEM, now: datetime | None = None) -> bool:
        """End the session from the next request on; return whether it was live.

        Recorded as ``portal_session.revoked``.
        """
        now, using = now or timezone.now(), self._state.db or router.db_for_write(type(self), instance=self)
        rows = PortalSession.objects.using(using).filter(pk=self.pk).live(now)
        revoked = _revoke(rows, caller=caller, now=now, using=using)
        self.refresh_from_db(using=using, fields=["revoked_at", "updated_at"])
        return bool(revoked)

    def told(self) -> dict[str, Any]:
        """Return what an audit entry tells of it."""
        return {name: getattr(self, name) for name in ("capabilities", "return_url", "expires_at", "opened_as_staff")}


@writing.in_transaction
def _open(session: PortalSession, session_hash: str, *, now: datetime, address: str, using: str) -> bool:
    """Use the session's link if nobody has; the guard stands in the UPDATE itself, so that one caller wins."""
    usable = PortalSession.objects.using(using).filter(
        pk=session.pk, used_at__isnull=True, revoked_at__isnull=True, link_expires_at__gt=now
    )
    values = {"session_hash": session_hash, "used_at": now, "seen_at": now, "updated_at": now}
    opened = bool(usable.update(**values))
    session.refresh_from_db(using=using, fields=[*values, "revoked_at"])
    if opened:
        audit.record("portal_session.used", session, caller=session.caller(address=address), at=now, using=using)
    return opened


@writing.in_transaction
def _revoke(rows: PortalSessionQuerySet, *, caller: Caller, now: datetime, using: str) -> int:
    sessions = list(rows.select_for_update(of=("self",)).select_related("application").order_by("pk"))
    chosen = PortalSession.objects.using(using).filter(pk__in=[session.pk for session in sessions])
    chosen.update(revoked_at=now, updated_at=now)
    for session in sessions:
        audit.record("portal_session.revoked", session, caller=caller, at=now, using=using)
    return len(sessions)


def _link_seconds() -> int:
    return min(conf.settings.PORTAL["LINK_SECONDS"], MAX_LINK_SECONDS)


def _life(seconds: object) -> int:
    most: int = conf.settings.PORTAL["SESSION_SECONDS"]
    if seconds is None:
        return most
    if not isinstance(seconds, int) or isinstance(seconds, bool) or not MIN_SESSION_SECONDS <= seconds <= most:
        problem = f"The life of a portal session is {MIN_SESSION_SECONDS} to {most} seconds, a whole number."
        raise ValidationError({"expires_in_seconds": ValidationError(problem, code="bad_expiry")})
    return seconds


def _return_url(value: object) -> object:
    if value == "" or origins.is_listed(value, conf.settings.PORTAL["RETURN_URLS"]):
        return value
    raise exceptions.InvalidInput(
        "The return URL must be an https:// URL that PORTAL['RETURN_URLS'] allows.", code="bad_return_url"
    )


_RULES: validation.Rules = {
    "tenant_id": partial(texts.validate_text, code="bad_tenant_id"),
    "capabilities": access.validate_capabilities,
    "theme": lambda value: themes.validate(value, logo_urls=conf.settings.PORTAL["LOGO_URLS"]),
    "return_url": _return_url,
}

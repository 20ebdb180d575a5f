"""Applications: the product surfaces of the host."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from django_relay.admin import staff
from django_relay.admin.lists import PlainAdmin
from django_relay.models import Application, audit

_TOLD = ("slug", "name", "metadata")


@admin.register(Application)
class ApplicationAdmin(PlainAdmin):
    """One product surface; none is deleted here, for its endpoints and events would go with it."""

    list_display = ("slug", "name", "created_at")
    search_fields = ("slug", "name")
    fields = ("slug", "name", "metadata")
    ordering = ("slug",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Return the slug of one that is there: programs name it."""
        return () if obj is None else ("slug",)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse."""
        return False

    def save_model(self, request: HttpRequest, obj: Application, form: Any, change: bool) -> None:
        """Save it, on record."""
        before = {name: form.initial.get(name, getattr(obj, name)) for name in _TOLD} if change else None
        super().save_model(request, obj, form, change)
        audit.record(
            "application.updated" if change else "application.created",
            obj,
            caller=staff.caller_of(request),
            before=before,
            after={name: getattr(obj, name) for name in _TOLD},
            application=obj.slug,
        )

"""The fields of every form that asks whose something is."""

from collections.abc import Sequence

from django import forms
from django.utils.translation import gettext_lazy as _

from django_relay.models import Application


class TenantForm(forms.Form):
    """Which tenant."""

    tenant_id = forms.CharField(
        label=_("Tenant"), max_length=255, required=False, help_text=_("Empty is the global tenant.")
    )


class OwnerForm(TenantForm):
    """Which tenant, of which application."""

    application = forms.ModelChoiceField(
        label=_("Application"), queryset=Application.objects.order_by("slug"), to_field_name="slug"
    )
    field_order: Sequence[str] = ("application", "tenant_id")

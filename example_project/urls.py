"""The example's pages: the Django admin, and the portal for its customers."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("webhooks/", include("django_relay.portal.urls")),
]

"""The example's pages: the Django admin, the portal for its customers, and the API with its description."""

from django.apps import apps
from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("webhooks/api/v1/", include("django_relay.api.urls")),
    path("webhooks/", include("django_relay.portal.urls")),
]
if apps.is_installed("drf_spectacular"):
    from drf_spectacular.views import SpectacularAPIView, SpectacularRedocView, SpectacularSwaggerView

    urlpatterns += [
        path("webhooks/api/openapi.yaml", SpectacularAPIView.as_view(), name="openapi"),
        path("webhooks/api/docs/", SpectacularSwaggerView.as_view(url_name="openapi")),
        path("webhooks/api/redoc/", SpectacularRedocView.as_view(url_name="openapi")),
    ]

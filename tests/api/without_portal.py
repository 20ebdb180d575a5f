"""A project that mounts the API and no portal."""

from django.urls import include, path

urlpatterns = [path("webhooks/api/v1/", include("django_relay.api.urls"))]

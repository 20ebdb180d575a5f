"""The admin on a site of the host's own, mounted in place of Django's, as its documentation says."""

import pytest
from django.apps import apps
from django.contrib import admin
from django.test import override_settings
from django.urls import include, path

from tests.factories import make_dlq_entry

pytestmark = pytest.mark.django_db

staff = admin.AdminSite(name="staff")
for model in apps.get_app_config("django_relay").get_models():
    staff.register(model, type(admin.site._registry[model]))
urlpatterns = [path("office/", staff.urls), path("webhooks/", include("django_relay.portal.urls"))]
BASE = "/office/django_relay/"


@override_settings(ROOT_URLCONF=__name__)
def test_every_page_is_there_and_its_links_stay_on_it(boss, client):
    entry = make_dlq_entry()
    pages = ["", "endpoint/tenants/", f"endpoint/{entry.endpoint_id}/change/", f"event/{entry.event_id}/change/",
             f"dlqentry/{entry.pk}/do/replay/", "dlqentry/all/discard/", "event/add/", "apikey/add/",
             "portalsession/add/", "erasure/add/", *(f"{model._meta.model_name}/" for model in staff._registry)]  # fmt: skip
    for page in pages:
        response = client.get(BASE + page)
        assert response.status_code == 200, page
        assert 'href="/admin/' not in response.content.decode(), page
    response = client.post(f"{BASE}dlqentry/{entry.pk}/do/replay/")
    assert response["Location"].startswith(f"{BASE}delivery/")

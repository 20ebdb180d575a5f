"""The shop's admin: paying emits."""

import pytest
from django.test import Client
from django.urls import reverse

from django_relay.testing import capture_events
from example_project.shop.models import Invoice

pytestmark = pytest.mark.django_db


def test_paying_in_the_admin_emits_once(admin_client: Client):
    paid = Invoice.objects.create(customer="acme", number="1", amount="10.00")
    paid.pay()
    unpaid = Invoice.objects.create(customer="acme", number="2", amount="20.00")
    data = {"action": "pay", "_selected_action": [paid.pk, unpaid.pk]}
    with capture_events() as events:
        answer = admin_client.post(reverse("admin:shop_invoice_changelist"), data, follow=True)
    assert "Paid: 1." in answer.content.decode()
    assert [event.subject for event in events] == [f"shop.Invoice:{unpaid.pk}"]


def test_the_site_begins_at_its_admin(client: Client):
    assert client.get("/").headers["location"] == reverse("admin:index")

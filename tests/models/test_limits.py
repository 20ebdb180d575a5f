"""What a tenant may have, whoever creates at once."""

import pytest
from django.conf import settings
from django.db import transaction
from django.test import override_settings

from django_relay import exceptions
from django_relay.models import Endpoint, TenantLock
from tests.factories import USING, make_application, make_endpoint
from tests.people import ALICE, CHARLIE
from tests.threads import together

pytestmark = pytest.mark.django_db


def relay(**values):
    return override_settings(DJANGO_RELAY={**settings.DJANGO_RELAY, **values})


class TestEndpointsOfATenant:
    def test_so_many_and_no_more(self):
        make_application("second")
        with relay(MAX_ENDPOINTS_PER_TENANT=2):
            first, _second = make_endpoint(), make_endpoint()
            with pytest.raises(exceptions.LimitReached) as caught:
                make_endpoint()
            assert (caught.value.code, isinstance(caught.value, exceptions.InvalidInput)) == (
                "too_many_endpoints",
                True,
            )
            assert "2 endpoints" in str(caught.value)
            make_endpoint(CHARLIE)
            make_endpoint(application="second")
            first.disable()
            with pytest.raises(exceptions.LimitReached):
                make_endpoint()
            first.delete()
            make_endpoint()
        assert Endpoint.objects.for_tenant(ALICE.tenant_id).count() == 2

    def test_none_is_no_limit(self):
        with relay(MAX_ENDPOINTS_PER_TENANT=None):
            for _ in range(51):
                make_endpoint()
        assert not TenantLock.objects.exists()

    def test_a_refused_endpoint_leaves_a_transaction_usable(self):
        with relay(MAX_ENDPOINTS_PER_TENANT=1), transaction.atomic(USING):
            make_endpoint()
            with pytest.raises(exceptions.LimitReached):
                make_endpoint()
            make_endpoint(CHARLIE)
        assert Endpoint.objects.count() == 2

    @pytest.mark.django_db(transaction=True)
    def test_whoever_creates_at_once(self):
        with relay(MAX_ENDPOINTS_PER_TENANT=5):
            results = together(lambda number: make_endpoint(CHARLIE if number % 4 == 0 else ALICE), 20)
        refused = [result for result in results if isinstance(result, Exception)]
        assert {getattr(error, "code", error) for error in refused} == {"too_many_endpoints"}
        assert Endpoint.objects.for_tenant(ALICE.tenant_id).count() == 5
        assert Endpoint.objects.for_tenant(CHARLIE.tenant_id).count() == 5
        assert TenantLock.objects.count() == 2

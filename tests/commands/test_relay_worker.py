import signal
import time

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.test import override_settings

from django_relay.models import Delivery, WorkerPresence
from tests.factories import make_delivery, make_endpoint, make_event
from tests.runners import transports

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _recording():
    transports.Recording.reset()
    values = {"TRANSPORT": "tests.runners.transports.Recording", "POLL_SECONDS": 0.05}
    with override_settings(DJANGO_RELAY={**settings.DJANGO_RELAY, **values}):
        yield


class TestRelayWorker:
    def test_until_idle_delivers_all_that_is_due_and_ends(self):
        make_endpoint()
        for _ in range(3):
            make_event()
        call_command("relay_worker", until_idle=True)
        assert len(transports.Recording.sent) == 3
        assert set(Delivery.objects.values_list("state", flat=True)) == {"delivered"}
        assert WorkerPresence.objects.count() == 0
        assert transports.Recording.closed == 1

    def test_until_idle_does_not_wait_for_retries(self):
        transports.Recording.status_code = 500
        make_delivery()
        call_command("relay_worker", "--until-idle")
        assert Delivery.objects.get().attempt_count == 1

    def test_for_a_time(self):
        began = time.monotonic()
        call_command("relay_worker", "--for", "0.3")
        assert 0.3 <= time.monotonic() - began < 5

    def test_a_signal_ends_it_and_what_it_had_is_settled(self):
        for _ in range(3):
            make_delivery()
        submit = transports.Recording.submit

        def submit_and_stop(transport, request):
            submit(transport, request)
            signal.raise_signal(signal.SIGTERM)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(transports.Recording, "submit", submit_and_stop)
            call_command("relay_worker")
        assert len(transports.Recording.sent) >= 1
        assert not Delivery.objects.leased().exists()
        assert WorkerPresence.objects.count() == 0

    def test_puts_back_the_handlers_it_found(self):
        before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
        call_command("relay_worker", "--until-idle")
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before

    def test_refuses_to_start_with_the_wrong_keys(self):
        delivery = make_delivery()
        with (
            override_settings(DJANGO_RELAY={**settings.DJANGO_RELAY, "ENCRYPTION_KEYS": {"b": "A" * 43 + "="}}),
            pytest.raises(CommandError, match="opens none"),
        ):
            call_command("relay_worker", "--until-idle")
        delivery.refresh_from_db()
        assert (delivery.state, delivery.attempt_count, delivery.lease_token) == ("pending", 0, None)
        assert WorkerPresence.objects.count() == 0

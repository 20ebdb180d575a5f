"""What could not be stored is kept, and emitted again at most once."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.test import override_settings

from django_relay import emit_best_effort, exceptions
from django_relay.models import Event, PublishFailure
from django_relay.pipeline import outbox, publish_failures
from tests.factories import INVOICE, USING, make_event_type
from tests.threads import together

pytestmark = pytest.mark.django_db


def make_failure(event_type="late.comer", data=INVOICE, **arguments):
    assert emit_best_effort(event_type, data, **arguments) is None
    return PublishFailure.objects.latest("created_at", "pk")


class TestEmitAgain:
    def test_stores_the_event_and_marks_the_failure(self):
        failure = make_failure(tenant_id="acme", idempotency_key="k", attributes={"plan": "pro"}, subject="a.B:1")
        make_event_type("late.comer")
        event = outbox.emit_again(failure, using=USING)
        stored = Event.objects.get()
        assert (stored.pk, stored.tenant_id, stored.subject) == (event.pk, "acme", "a.B:1")
        assert (stored.idempotency_key, stored.attributes) == ("k", {"plan": ["pro"]})
        failure.refresh_from_db()
        assert failure.emitted_at is not None

    def test_says_when_it_happened_not_when_it_was_emitted(self):
        failure = make_failure()
        make_event_type("late.comer")
        assert outbox.emit_again(failure, using=USING).occurred_at == failure.created_at
        moment = datetime(2026, 1, 2, tzinfo=UTC)
        told = make_failure("other.comer", occurred_at=moment)
        make_event_type("other.comer")
        assert outbox.emit_again(told, using=USING).occurred_at == moment

    def test_happens_once(self):
        failure = make_failure()
        make_event_type("late.comer")
        assert outbox.emit_again(failure, using=USING)
        assert outbox.emit_again(failure, using=USING) is None
        assert Event.objects.count() == 1

    def test_leaves_what_fails_again(self):
        failure = make_failure()
        with pytest.raises(exceptions.UnknownEventType):
            outbox.emit_again(failure, using=USING)
        failure.refresh_from_db()
        assert failure.emitted_at is None

    def test_leaves_all_while_the_kill_switch_is_off(self):
        failure = make_failure()
        make_event_type("late.comer")
        with override_settings(DJANGO_RELAY={"ENABLED": False}):
            assert outbox.emit_again(failure, using=USING) is None
        failure.refresh_from_db()
        assert failure.emitted_at is None

    def test_refuses_what_was_kept_as_text_only(self):
        failure = make_failure(data=object())
        with pytest.raises(exceptions.InvalidEvent) as raised:
            outbox.emit_again(failure, using=USING)
        assert raised.value.code == "incomplete"

    @pytest.mark.django_db(transaction=True)
    def test_happens_once_though_several_try(self):
        failure = make_failure(data={"amount": Decimal("9.00")})
        make_event_type("late.comer")
        found = together(lambda number: outbox.emit_again(failure, using=USING), 3)
        assert sum(isinstance(event, Event) for event in found) == 1, found
        assert Event.objects.count() == 1


class TestKeep:
    def test_never_raises(self, caplog):
        publish_failures.keep({"event_type": "a", "using": "nowhere"}, ValueError("x"), "here")
        assert "nor could its failure" in caplog.text

    def test_keeps_the_arguments_though_there_is_no_data(self):
        publish_failures.keep({"event_type": "a.b", "subject": "a.B:1"}, ValueError("x"), "here")
        failure = PublishFailure.objects.get()
        assert (failure.arguments, failure.error, failure.caller) == (
            {"event_type": "a.b", "subject": "a.B:1"},
            "ValueError: x",
            "here",
        )

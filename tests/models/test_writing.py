"""What is done once a transaction has committed, and inserts of one row and of many."""

import logging
from datetime import UTC, datetime

import pytest
from django.db import DataError, connection, transaction
from django.utils import timezone

from django_relay.models import Application, Event, writing
from tests.factories import USING


@pytest.mark.django_db(transaction=True)
class TestAfterCommit:
    def test_calls_with_the_arguments_once_it_has_committed(self):
        heard = []
        with transaction.atomic():
            writing.after_commit(heard.append, "told", using=USING)
            assert heard == []
        assert heard == ["told"]

    def test_never_when_it_was_rolled_back(self):
        heard = []
        with transaction.atomic():
            writing.after_commit(heard.append, "told", using=USING)
            transaction.set_rollback(True)
        assert heard == []

    def test_an_error_is_logged_and_stops_nobody(self, caplog):
        heard = []
        with caplog.at_level(logging.ERROR), transaction.atomic():
            writing.after_commit(int, "no number", using=USING)
            writing.after_commit(heard.append, "told", using=USING)
        assert heard == ["told"]
        assert "no number" in caplog.text


class TestMake:
    def test_is_what_the_model_makes(self):
        now = timezone.now()
        values = {
            "application_id": "app_1",
            "event_type": "a.b",
            "payload": "{}",
            "occurred_at": now,
            "created_at": now,
        }
        made, usual = writing.make(Event, id="evt_1", **values), Event(id="evt_1", **values)
        assert {**vars(made), "_state": None} == {**vars(usual), "_state": None}
        assert (made._state.adding, made._state.db) == (True, None)
        assert made.attributes is not writing.make(Event, **values).attributes
        assert made.pk != writing.make(Event, **values).pk

    def test_takes_no_name_that_is_no_column(self):
        with pytest.raises(TypeError, match="Event has no application, sender"):
            writing.make(Event, application=None, sender="me")


@pytest.mark.django_db
class TestInsertNew:
    UNUSUAL = {
        "payload": '{"ü":"\\u0000","n":1.10}',
        "attributes": {"a": ["ü", 1.5, None, {"b": True}]},
        "idempotency_key": "100% %s",
        "subject": 'it\'s "quoted"\\n',
        "matched_count": 3,
        "dispatched_at": datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    }

    def event(self, **values):
        application = Application.objects.get(slug="default")
        now = timezone.now()
        return Event(application=application, event_type="order.placed", occurred_at=now, **{**self.UNUSUAL, **values})

    def stored(self, event):
        return Event.objects.filter(pk=event.pk).values().get()

    @pytest.mark.parametrize("attributes", [{}, UNUSUAL["attributes"], "text", 1, []], ids=repr)
    def test_one_row_is_stored_as_many_are(self, attributes):
        alone, first, second = (self.event(tenant_id=name, attributes=attributes) for name in "abc")
        assert writing.insert_new([alone], using=USING) == {alone.pk}
        assert writing.insert_new([first, second], using=USING) == {first.pk, second.pk}
        same = {"id": alone.pk, "tenant_id": "a", "occurred_at": alone.occurred_at, "created_at": alone.created_at}
        assert {**self.stored(first), **same} == {**self.stored(second), **same} == self.stored(alone)
        assert {name: self.stored(alone)[name] for name in self.UNUSUAL} == {**self.UNUSUAL, "attributes": attributes}

    def test_says_which_were_new_and_leaves_the_transaction_usable(self):
        there, new = self.event(tenant_id="a"), self.event(tenant_id="b")
        writing.insert_new([there], using=USING)
        assert writing.insert_new([there], using=USING) == set()
        assert writing.insert_new([there, new], using=USING) == {new.pk}
        assert Event.objects.count() == 2

    def test_a_value_that_is_too_long_is_refused_and_not_cut(self):
        if connection.vendor == "sqlite":
            pytest.skip("SQLite has no lengths")
        for rows in ([self.event(subject="x" * 256)], [self.event(subject="x" * 256), self.event(tenant_id="b")]):
            with pytest.raises(DataError), transaction.atomic():
                writing.insert_new(rows, using=USING)

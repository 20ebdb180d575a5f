import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from asgiref.sync import async_to_sync
from django.db import connection, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.translation import gettext_lazy

from django_relay import aemit, deterministic_event_id, emit, emit_best_effort, emit_many, exceptions
from django_relay.catalog import registry, sync
from django_relay.models import Event, PublishFailure
from django_relay.pipeline import outbox, publish_failures
from tests.factories import INVOICE, make_application, make_event, make_event_type
from tests.people import ALICE, BOB, CHARLIE
from tests.pipeline.runners import RecordingRunner
from tests.rules import vectors
from tests.threads import together

pytestmark = pytest.mark.django_db


def relay(**values):
    """Override single settings of DJANGO_RELAY."""
    from django.conf import settings

    return override_settings(DJANGO_RELAY={**settings.DJANGO_RELAY, **values})


@pytest.fixture
def free():
    """An event type without a schema."""
    return make_event_type("free").name


@pytest.fixture
def woken():
    """The databases whose workers were woken."""
    RecordingRunner.woken.clear()
    with relay(RUNNER="tests.pipeline.runners.RecordingRunner"):
        yield RecordingRunner.woken


def never():
    return False


class Switch:
    on = True


def switch():
    return Switch.on


class TestEmit:
    def test_stores_what_it_was_told(self):
        moment = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
        emit(
            "invoice.paid",
            INVOICE,
            tenant_id=ALICE.tenant_id,
            idempotency_key="paid-42",
            attributes={"region": "eu", "size": 3},
            occurred_at=moment,
            subject="shop.Invoice:42",
        )
        event = Event.objects.get()
        assert (event.tenant_id, event.event_type, event.application.slug) == ("acme", "invoice.paid", "default")
        assert event.payload == '{"number":"2026-0042","amount":"99.00","currency":"EUR"}'
        assert (event.idempotency_key, event.subject, event.occurred_at) == ("paid-42", "shop.Invoice:42", moment)
        assert event.attributes == {"region": ["eu"], "size": [3]}
        assert (event.status, event.dispatched_at, event.matched_count) == ("pending", None, None)

    def test_returns_the_event_as_stored(self):
        event = make_event()
        assert event.pk.startswith("evt_")
        assert event._state.adding is False
        assert Event.objects.get() == event

    def test_the_global_tenant_is_the_default(self):
        assert emit("invoice.paid", INVOICE).tenant_id == ""

    def test_ids_grow_with_time(self):
        assert [event.pk for event in Event.objects.order_by("pk")] == []
        made = [make_event().pk for _ in range(5)]
        assert made == sorted(made)
        assert list(Event.objects.order_by("pk").values_list("pk", flat=True)) == made

    def test_another_application_has_its_own_catalog(self):
        make_application("second")
        with pytest.raises(exceptions.UnknownEventType):
            make_event(application="second")
        make_event_type("order.placed", application="second")
        assert make_event("order.placed", {}, application="second").application.slug == "second"
        with pytest.raises(exceptions.UnknownEventType):
            make_event("order.placed", {})


class TestTransactions:
    @pytest.mark.django_db(transaction=True)
    def test_a_rolled_back_transaction_leaves_no_event_and_wakes_nobody(self, woken):
        with pytest.raises(ZeroDivisionError), transaction.atomic():  # noqa: PT012 - the block is what is rolled back
            make_event()
            raise ZeroDivisionError
        assert Event.objects.count() == 0
        assert woken == []

    @pytest.mark.django_db(transaction=True)
    def test_a_rolled_back_savepoint_leaves_only_what_is_outside(self, woken):
        with transaction.atomic():
            kept = make_event()
            with pytest.raises(ZeroDivisionError), transaction.atomic():  # noqa: PT012 - the block is what is rolled back
                make_event()
                raise ZeroDivisionError
            assert woken == []
        assert list(Event.objects.all()) == [kept]
        assert woken == ["default"]

    @pytest.mark.django_db(transaction=True)
    def test_wakes_once_committed_and_not_before(self, woken):
        with transaction.atomic():
            make_event()
            assert woken == []
        assert woken == ["default"]
        make_event()
        assert woken == ["default", "default"]

    @pytest.mark.django_db(transaction=True)
    def test_a_runner_that_fails_does_not_reach_the_caller(self, caplog):
        with relay(RUNNER="tests.pipeline.runners.BrokenRunner"):
            with transaction.atomic():
                inside = make_event()
            outside = make_event()
        assert set(Event.objects.all()) == {inside, outside}
        assert [record.event for record in caplog.records if hasattr(record, "event")] == ["runner.wake_failed"] * 2

    @pytest.mark.django_db(transaction=True)
    def test_a_runner_that_does_not_exist_does_not_reach_the_caller(self):
        with relay(RUNNER="no.such.Runner"):
            assert make_event() == Event.objects.get()

    @pytest.mark.django_db(transaction=True)
    def test_costs_one_insert_outside_a_transaction(self):
        make_event()
        with relay(NOTIFY=False), CaptureQueriesContext(connection) as queries:
            make_event(idempotency_key="k")
        assert [query["sql"].split()[0] for query in queries] == ["INSERT"]

    @pytest.mark.django_db(transaction=True)
    def test_costs_one_insert_in_a_transaction_and_no_savepoint(self):
        make_event()
        with transaction.atomic():
            list(Event.objects.all())
            with CaptureQueriesContext(connection) as queries:
                make_event(idempotency_key="k")
            assert [query["sql"].split()[0] for query in queries] == ["INSERT"]

    def test_the_catalog_costs_nothing_once_warm(self, django_assert_num_queries):
        make_event()
        with django_assert_num_queries(3):
            make_event("invoice.created")
            make_event("invoice.overdue", {**INVOICE, "days": 1})
            make_event()


class TestOrderOfChecks:
    def test_a_switch_that_is_off_looks_at_nothing(self, django_assert_num_queries):
        with relay(ENABLED=False), django_assert_num_queries(0):
            assert emit("no.such", object(), tenant_id=object(), idempotency_key="\x00") is None

    def test_the_catalog_comes_before_the_data(self):
        with pytest.raises(exceptions.UnknownEventType):
            emit("no.such", object(), tenant_id=object())

    def test_deprecation_comes_before_the_data(self):
        make_event_type("old").deprecate()
        with pytest.raises(exceptions.DeprecatedEventType):
            emit("old", object(), tenant_id=object())

    def test_data_come_before_the_schema(self):
        with pytest.raises(exceptions.InvalidPayload) as caught:
            emit("invoice.paid", {"number": object()}, tenant_id=object())
        assert caught.value.code == "not_serialisable"

    def test_the_schema_comes_before_the_other_arguments(self):
        with pytest.raises(exceptions.InvalidPayload) as caught:
            emit("invoice.paid", {"number": "1"}, tenant_id=object())
        assert caught.value.code == "schema_mismatch"


class TestKillSwitch:
    @pytest.mark.parametrize("enabled", [False, never, "tests.pipeline.test_outbox.never"])
    def test_off(self, enabled):
        with relay(ENABLED=enabled):
            assert emit("invoice.paid", INVOICE) is None
            assert emit_many([{"event_type": "invoice.paid", "data": INVOICE}] * 3) == [None, None, None]
            assert emit_best_effort("invoice.paid", INVOICE) is None
        assert Event.objects.count() == 0
        assert PublishFailure.objects.count() == 0

    def test_a_callable_is_asked_each_time(self, monkeypatch):
        with relay(ENABLED=switch):
            assert emit("invoice.paid", INVOICE) is not None
            monkeypatch.setattr(Switch, "on", False)
            assert emit("invoice.paid", INVOICE) is None


class TestCatalogue:
    @pytest.mark.parametrize("case", vectors.load("event_names"))
    def test_names_of_event_types(self, case):
        name = vectors.given(case)
        # EVT-004 has upper case, which our rule refuses: names are lower-case words.
        if case["expect"] == "accept" and case["id"] != "EVT-004":
            sync.register_event_type(registry.WebhookDefinition(name))
            assert emit(name, {}).event_type == name
            return
        with pytest.raises(exceptions.InvalidEventName) as caught:
            sync.register_event_type(registry.WebhookDefinition(name))
        assert caught.value.code == ("bad_event_type" if case["id"] == "EVT-004" else case["reason"])
        with pytest.raises(exceptions.RelayError) as caught:
            emit(name, {})
        assert len(str(caught.value)) < 1_000
        assert Event.objects.count() == 0

    def test_an_unknown_name_gets_a_near_miss(self):
        with pytest.raises(exceptions.UnknownEventType, match=r"Did you mean invoice\.paid\?"):
            emit("invoice.payed", INVOICE)

    def test_an_unknown_application_is_named(self):
        with pytest.raises(exceptions.UnknownApplication, match="'nowhere'"):
            emit("invoice.paid", INVOICE, application="nowhere")


def nested(depth):
    data = []
    for _ in range(depth - 1):
        data = [data]
    return data


def endless():
    data = {}
    data["a"] = data
    return data


PYTHON = {
    "PAY-036": lambda: nested(100_000),
    "PAY-038": lambda: nested(65),
    "PAY-040": lambda: nested(1_500),
    "PAY-041": lambda: {"a": 10**4_999},
    "PAY-057": lambda: {"a": {1}},
    "PAY-058": lambda: {"a": b"bytes"},
    "PAY-059": lambda: {"a": Decimal("1.1")},
    "PAY-060": lambda: {"a": datetime(2026, 1, 1)},  # noqa: DTZ001
    "PAY-061": endless,
    "PAY-064": lambda: {"a": float("nan")},
}
"""Cases whose text or description stands for Python data that json.loads cannot or need not make."""

ONLY_TEXT = {"PAY-018", "PAY-019", "PAY-047"}
"""Wrong only as JSON text: once parsed, the underflow is an ordinary 0.0, the first of two keys is gone, and 600 kB of
escapes are 100 kB of letters."""

OUR_CODES = {"bad_json": "not_serialisable"}
OUR_REASONS = {"PAY-061": "too_deep"}
"""A cycle is found by its depth, which the message says."""


def python_cases():
    """Return the catalogue's cases as Python data; those that a JSON parser refuses never reach emit()."""
    for parameter in vectors.load("payload"):
        case = parameter.values[0]
        if case["id"] in ONLY_TEXT or "input_b64" in case:
            continue
        if case["id"] in PYTHON:
            make = PYTHON[case["id"]]
        elif case["class"] == "data":
            make = lambda case=case: case["input"]  # noqa: E731
        else:
            try:
                json.loads(vectors.given(case))
            except ValueError:
                continue
            make = lambda case=case: json.loads(vectors.given(case))  # noqa: E731
        yield pytest.param(case, make, id=case["id"])


PYTHON_CASES = list(python_cases())


NOT_JSON = {
    "infinity": float("inf"),
    "nan": float("nan"),
    "decimal nan": Decimal("NaN"),
    "decimal infinity": Decimal("Infinity"),
    "number as key": {1: 2},
    "object": {"a": object()},
    "set": {"a": {"b"}},
    "bytes": b"\xff",
    "nul": "\x00",
    "nul in a list": ["a\x00b"],
    "nul in a key": {"\x00": 1},
    "nul beside what looks like its escape": {"a": "\\u0000", "b": "\x00"},
    "half a surrogate pair": "\udc00",
    "5,001 digits": [10**5_000],
    "complex": 1j,
}


class TestData:
    def test_most_of_the_catalogue_applies(self):
        assert len(PYTHON_CASES) >= 30

    @pytest.mark.parametrize(("case", "make"), PYTHON_CASES)
    def test_the_catalogue(self, case, make, free):
        data = make()
        if case["expect"] == "accept":
            event = Event.objects.get(pk=emit(free, data).pk)
            assert json.loads(event.payload) == json.loads(publish_failures.encode(data))
            if case["id"] != "PAY-059":
                assert json.loads(event.payload) == data
            return
        with pytest.raises(exceptions.InvalidPayload) as caught:
            emit(free, data)
        expected = OUR_REASONS.get(case["id"], OUR_CODES.get(case["reason"], case["reason"]))
        assert caught.value.code == expected
        assert Event.objects.count() == 0

    def test_escapes_are_counted_as_they_go_over_the_wire(self):
        assert publish_failures.encode("\u0041" * 100_000) == '"' + "A" * 100_000 + '"'
        assert publish_failures.encode("é") == '"é"'

    def test_the_order_and_spelling_of_keys_survive(self, free):
        data = {"b": 1, "a": {"z": 1, "y": 2}, "B": 3}
        assert Event.objects.get(pk=emit(free, data).pk).payload == '{"b":1,"a":{"z":1,"y":2},"B":3}'

    def test_big_integers_survive(self, free):
        data = {"a": 9007199254740993, "b": 12345678901234567890123456789012345}
        stored = Event.objects.get(pk=emit(free, data).pk).payload
        assert stored == '{"a":9007199254740993,"b":12345678901234567890123456789012345}'

    def test_a_schema_does_not_mind_big_integers(self):
        make_event_type("big", schema={"type": "object", "properties": {"a": {"type": "integer"}}})
        assert emit("big", {"a": 10**40}).payload == '{"a":1' + "0" * 40 + "}"

    def test_the_python_types_that_have_a_json_form(self, free):
        moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        data = {
            "decimal": Decimal("1.10"),
            "uuid": UUID(int=1),
            "moment": moment,
            "date": date(2026, 1, 2),
            "time": time(3, 4),
            "lazy": gettext_lazy("Webhooks"),
            "tuple": (1, 2),
        }
        assert json.loads(emit(free, data).payload) == {
            "decimal": "1.10",
            "uuid": "00000000-0000-0000-0000-000000000001",
            "moment": "2026-01-02T03:04:05+00:00",
            "date": "2026-01-02",
            "time": "03:04:00",
            "lazy": "Webhooks",
            "tuple": [1, 2],
        }

    @pytest.mark.parametrize("value", NOT_JSON.values(), ids=NOT_JSON)
    def test_what_has_no_json_form_is_refused_in_the_callers_stack(self, value, free):
        with pytest.raises(exceptions.InvalidPayload) as caught:
            emit(free, value)
        assert caught.value.code == "not_serialisable"

    def test_a_nul_in_a_lazy_text_is_refused(self, free):
        with pytest.raises(exceptions.InvalidPayload):
            emit(free, {"a": gettext_lazy("a\x00b")})

    def test_the_limits_are_settings(self, free):
        with relay(MAX_PAYLOAD_BYTES=10, MAX_PAYLOAD_DEPTH=2):
            assert emit(free, "12345678") is not None
            assert emit(free, [[1]]) is not None
            with pytest.raises(exceptions.InvalidPayload) as large:
                emit(free, "123456789")
            with pytest.raises(exceptions.InvalidPayload) as deep:
                emit(free, [[[1]]])
        assert (large.value.code, deep.value.code) == ("too_large", "too_deep")

    def test_refused_data_do_not_stand_in_the_message(self, free):
        with pytest.raises(exceptions.InvalidPayload) as caught:
            emit("invoice.paid", {**INVOICE, "amount": "canary-4711"})
        assert "canary" not in str(caught.value)
        assert "/amount" in str(caught.value)


class TestSchema:
    WRONG = {**INVOICE, "amount": 99}

    def test_block_is_the_default(self):
        with pytest.raises(exceptions.InvalidPayload) as caught:
            emit("invoice.paid", self.WRONG)
        assert caught.value.code == "schema_mismatch"
        assert Event.objects.count() == 0

    def test_warn_stores_and_logs_without_the_payload(self, caplog):
        with relay(SCHEMA_VALIDATION="warn"):
            emit("invoice.paid", {**INVOICE, "amount": "canary"})
        assert Event.objects.count() == 1
        assert [record.event for record in caplog.records] == ["event.schema_mismatch"]
        assert "canary" not in caplog.text

    def test_off_does_not_look(self, caplog):
        with relay(SCHEMA_VALIDATION="off"):
            emit("invoice.paid", self.WRONG)
        assert Event.objects.count() == 1
        assert caplog.records == []

    def test_the_schemas_version_is_kept_with_the_event(self):
        make_event_type("versioned", schema=True, schema_version="7")
        assert emit("versioned", {}).schema_version == "7"


class TestArguments:
    @pytest.mark.parametrize(
        ("argument", "value", "code"),
        [
            ("tenant_id", None, "bad_tenant_id"),
            ("tenant_id", 7, "bad_tenant_id"),
            ("tenant_id", "a" * 256, "bad_tenant_id"),
            ("tenant_id", "a\x00", "bad_tenant_id"),
            ("tenant_id", "\ud800", "bad_tenant_id"),
            ("subject", "a" * 256, "bad_subject"),
            ("subject", "\x00", "bad_subject"),
            ("idempotency_key", "a" * 256, "bad_key"),
            ("idempotency_key", "k\x00", "bad_key"),
            ("idempotency_key", "é", "bad_key"),
            ("idempotency_key", "k\n", "bad_key"),
            ("idempotency_key", None, "bad_key"),
            ("event_id", "evt_1", "bad_event_id"),
            ("event_id", "ep_01m8yk5qdceweacehm6y2yvxnm", "bad_event_id"),
            ("event_id", "evt_01M8YK5QDCEWEACEHM6Y2YVXNM", "bad_event_id"),
            ("event_id", "", "bad_event_id"),
            ("occurred_at", datetime(2026, 1, 1), "bad_occurred_at"),  # noqa: DTZ001
            ("occurred_at", "2026-01-01T00:00:00Z", "bad_occurred_at"),
            ("occurred_at", datetime.max.replace(tzinfo=UTC), "bad_occurred_at"),
            ("occurred_at", datetime.min.replace(tzinfo=UTC), "bad_occurred_at"),
            ("attributes", {"a": object()}, "bad_attributes"),
            ("attributes", {"a": "\x00"}, "bad_attributes"),
            ("attributes", {"a": float("nan")}, "bad_attributes"),
            ("attributes", [1], "bad_attributes"),
        ],
    )
    def test_what_cannot_be_used_is_refused_with_its_code(self, argument, value, code):
        with pytest.raises(exceptions.InvalidInput) as caught:
            emit("invoice.paid", INVOICE, **{argument: value})
        assert caught.value.code == code
        assert Event.objects.count() == 0

    def test_edges_inside(self):
        emit("invoice.paid", INVOICE, tenant_id="ü" * 255, idempotency_key="~" * 255, subject="s" * 255)
        assert Event.objects.get().tenant_id == "ü" * 255


class TestIdempotency:
    def test_the_same_key_gives_the_first_event(self):
        first = make_event(idempotency_key="k")
        again = make_event(idempotency_key="k", occurred_at=timezone.now(), subject="another")
        assert again == first
        assert again.subject == ""
        assert Event.objects.count() == 1

    def test_the_key_belongs_to_the_tenant_and_not_to_a_person(self):
        assert make_event(person=ALICE, idempotency_key="k") == make_event(person=BOB, idempotency_key="k")

    def test_the_order_of_the_keys_of_data_is_other_data(self):
        make_event(idempotency_key="k")
        with pytest.raises(exceptions.IdempotencyConflict):
            make_event(data=dict(reversed(INVOICE.items())), idempotency_key="k")

    @pytest.mark.parametrize(
        ("event_type", "data"), [("invoice.paid", {**INVOICE, "number": "1"}), ("invoice.created", INVOICE)]
    )
    def test_the_same_key_for_something_else_is_a_conflict(self, event_type, data):
        first = make_event(idempotency_key="k")
        with pytest.raises(exceptions.IdempotencyConflict):
            make_event(event_type, data, idempotency_key="k")
        assert list(Event.objects.all()) == [first]

    def test_another_tenants_key_is_another_key(self):
        mine = make_event(person=ALICE, idempotency_key="k")
        theirs = make_event(person=CHARLIE, data={**INVOICE, "number": "1"}, idempotency_key="k")
        assert mine != theirs
        assert Event.objects.count() == 2

    def test_another_applications_key_is_another_key(self):
        make_application("second")
        make_event_type("invoice.paid", application="second")
        assert make_event(idempotency_key="k") != make_event(idempotency_key="k", application="second")

    def test_no_key_is_never_the_same(self):
        assert make_event() != make_event()

    def test_the_same_event_id_gives_the_first_event(self):
        event_id = deterministic_event_id("invoice", 42, "paid")
        first = make_event(event_id=event_id)
        assert first.pk == event_id
        assert make_event(event_id=event_id) == first
        assert Event.objects.count() == 1

    def test_the_same_event_id_for_other_data_is_a_conflict(self):
        make_event(event_id=deterministic_event_id(1))
        with pytest.raises(exceptions.IdempotencyConflict):
            make_event("invoice.created", event_id=deterministic_event_id(1))

    def test_another_tenants_event_id_is_a_conflict_that_tells_nothing(self):
        theirs = make_event(person=CHARLIE, data={**INVOICE, "number": "canary"}, event_id=deterministic_event_id(1))
        with pytest.raises(exceptions.IdempotencyConflict) as caught:
            make_event(person=ALICE, event_id=deterministic_event_id(1))
        with pytest.raises(exceptions.IdempotencyConflict) as twin:
            make_event(person=ALICE, data={**INVOICE, "number": "canary"}, event_id=deterministic_event_id(1))
        assert str(caught.value) == str(twin.value)
        assert not any(word in str(caught.value) for word in ("canary", "globex", "paid"))
        assert list(Event.objects.all()) == [theirs]

    def test_a_repeat_costs_the_insert_and_one_select(self):
        make_event(idempotency_key="k")
        with CaptureQueriesContext(connection) as queries:
            make_event(idempotency_key="k")
        assert [query["sql"].split()[0] for query in queries] == ["INSERT", "SELECT"]

    def test_a_repeat_wakes_nobody(self, woken, django_capture_on_commit_callbacks):
        make_event(idempotency_key="k")
        with django_capture_on_commit_callbacks() as callbacks:
            make_event(idempotency_key="k")
        assert callbacks == []

    @pytest.mark.django_db(transaction=True)
    def test_after_a_repeat_or_a_conflict_the_callers_transaction_goes_on(self):
        make_event(idempotency_key="k")
        with transaction.atomic():
            make_event(idempotency_key="k")
            with pytest.raises(exceptions.IdempotencyConflict):
                make_event("invoice.created", idempotency_key="k")
            after = make_event()
        assert Event.objects.filter(pk=after.pk).exists()
        assert Event.objects.count() == 2

    @pytest.mark.django_db(transaction=True)
    def test_twenty_threads_with_one_key_store_one_event_and_all_get_it(self):
        make_event()
        events = together(lambda number: make_event(idempotency_key="k").pk, 20)
        assert set(events) == {Event.objects.get(idempotency_key="k").pk}

    @pytest.mark.django_db(transaction=True)
    def test_of_threads_with_one_key_and_different_data_one_wins(self):
        make_event()
        events = together(lambda number: make_event(data={**INVOICE, "number": str(number)}, idempotency_key="k"), 8)
        stored = Event.objects.get(idempotency_key="k")
        assert [event for event in events if isinstance(event, Event)] == [stored]
        assert sum(isinstance(event, exceptions.IdempotencyConflict) for event in events) == 7


class TestDeterministicEventId:
    def test_the_same_parts_give_the_same_id(self):
        assert deterministic_event_id("invoice", 42) == deterministic_event_id("invoice", "42")
        assert deterministic_event_id("invoice", 42) != deterministic_event_id("invoice", 43)

    def test_it_is_stable_over_releases(self):
        assert deterministic_event_id("invoice", 42, "paid") == "evt_2djt07hj4gkxvs6tfezyt1ve8x"

    def test_nothing_has_no_id(self):
        with pytest.raises(ValueError, match="at least one part"):
            deterministic_event_id()


def item(**values):
    return {"event_type": "invoice.paid", "data": INVOICE, "tenant_id": ALICE.tenant_id, **values}


class TestEmitMany:
    def test_keeps_the_order(self):
        numbers = [f"n{number}" for number in (3, 1, 2)]
        events = emit_many([item(data={**INVOICE, "number": number}) for number in numbers])
        assert [json.loads(event.payload)["number"] for event in events] == numbers
        assert Event.objects.count() == 3

    def test_takes_any_iterable_and_nothing(self):
        assert emit_many(iter([])) == []
        assert len(emit_many(item() for _ in range(2))) == 2

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.parametrize(
        "bad",
        [
            {"event_type": "no.such"},
            {"data": {"number": 1}},
            {"tenant_id": None},
            {"idempotency_key": "taken"},
            {"event_id": deterministic_event_id("taken")},
        ],
        ids=["type", "data", "argument", "key", "id"],
    )
    def test_one_bad_event_stores_none(self, bad, woken):
        make_event("invoice.created", idempotency_key="taken", event_id=deterministic_event_id("taken"))
        woken.clear()
        with pytest.raises(exceptions.RelayError):
            emit_many([item(), item(**bad), item()])
        with transaction.atomic():
            with pytest.raises(exceptions.RelayError):
                emit_many([item(), item(**bad), item()])
            after = make_event()
        assert set(Event.objects.exclude(idempotency_key="taken")) == {after}
        assert woken == ["default"]

    def test_the_same_event_twice_in_the_list_is_one_event(self):
        by_key = emit_many([item(idempotency_key="k"), item(), item(idempotency_key="k")])
        assert by_key[0] == by_key[2] != by_key[1]
        by_id = emit_many([item(event_id=deterministic_event_id(1)), item(event_id=deterministic_event_id(1))])
        assert by_id[0] == by_id[1]
        assert Event.objects.count() == 3

    @pytest.mark.parametrize("same", [{"idempotency_key": "k"}, {"event_id": deterministic_event_id(1)}])
    def test_one_key_for_different_data_in_the_list_is_a_conflict(self, same):
        with pytest.raises(exceptions.IdempotencyConflict):
            emit_many([item(**same), item(data={**INVOICE, "number": "1"}, **same)])
        assert Event.objects.count() == 0

    def test_a_list_of_new_and_known_events(self):
        known = make_event(idempotency_key="k")
        events = emit_many([item(), item(idempotency_key="k"), item(idempotency_key="new")])
        assert events[1] == known
        assert Event.objects.count() == 3

    @pytest.mark.django_db(transaction=True)
    def test_a_thousand_events_are_stored_at_once_and_wake_once(self, woken):
        events = emit_many([item(idempotency_key=f"k{number}") for number in range(1_000)])
        assert [event.idempotency_key for event in events] == [f"k{number}" for number in range(1_000)]
        assert Event.objects.count() == 1_000
        assert woken == ["default"]

    def test_a_list_costs_one_insert(self):
        make_event()
        with CaptureQueriesContext(connection) as queries:
            emit_many([item(data={**INVOICE, "number": str(number)}) for number in range(50)])
        assert sum(query["sql"].startswith("INSERT") for query in queries) == 1
        assert not any(query["sql"].startswith("SELECT") for query in queries)


class TestAemit:
    def test_does_what_emit_does(self):
        event = async_to_sync(aemit)("invoice.paid", INVOICE, tenant_id=ALICE.tenant_id, idempotency_key="k")
        assert Event.objects.get() == event
        with pytest.raises(exceptions.IdempotencyConflict):
            async_to_sync(aemit)("invoice.created", INVOICE, tenant_id=ALICE.tenant_id, idempotency_key="k")


class Unfriendly:
    def __repr__(self):
        raise RuntimeError("no repr either")


class TestEmitBestEffort:
    def test_stores_as_emit_does(self):
        event = emit_best_effort("invoice.paid", INVOICE, tenant_id=ALICE.tenant_id, subject="s")
        assert Event.objects.get() == event
        assert PublishFailure.objects.count() == 0

    def test_costs_one_round_trip_in_a_transaction_of_postgres(self):
        make_event()
        with transaction.atomic(), CaptureQueriesContext(connection) as queries:
            emit_best_effort("invoice.paid", INVOICE, tenant_id=ALICE.tenant_id)
        assert len(queries) == (3 if connection.vendor == "sqlite" else 1)
        assert Event.objects.count() == 2

    def test_an_unknown_type_is_kept_with_its_caller_and_arguments(self):
        assert emit_best_effort("no.such", {"a": 1}, tenant_id=ALICE.tenant_id, idempotency_key="k") is None
        failure = PublishFailure.objects.get()
        assert (failure.event_type, failure.tenant_id) == ("no.such", "acme")
        assert failure.arguments == {
            "event_type": "no.such",
            "data": {"a": 1},
            "tenant_id": "acme",
            "idempotency_key": "k",
        }
        assert failure.error.startswith("UnknownEventType: ")
        assert failure.caller.startswith("tests.pipeline.test_outbox:")

    @pytest.mark.parametrize("data", NOT_JSON.values(), ids=NOT_JSON)
    def test_data_that_cannot_be_stored_never_raise_and_are_kept(self, data):
        with transaction.atomic():
            assert emit_best_effort("invoice.paid", data) is None
            assert make_event() == Event.objects.get()
        failure = PublishFailure.objects.get()
        assert failure.error.startswith("InvalidPayload: ")
        assert failure.arguments

    def test_data_in_a_circle_never_raise(self):
        assert emit_best_effort("invoice.paid", endless()) is None
        assert emit_best_effort("invoice.paid", nested(100_000)) is None
        assert make_event() is not None

    @pytest.mark.parametrize(
        "arguments",
        [
            {"tenant_id": None},
            {"tenant_id": "\x00" * 300},
            {"no_such_argument": 1},
            {"application": []},
            {"application": "no.such"},
            {"using": "no.such"},
        ],
        ids=repr,
    )
    def test_no_argument_makes_it_raise(self, arguments):
        with transaction.atomic():
            assert emit_best_effort("invoice.paid", INVOICE, **arguments) is None
            assert make_event() is not None

    def test_of_what_cannot_be_described_the_rest_is_kept(self):
        assert emit_best_effort("invoice.paid", Unfriendly(), tenant_id="acme", subject="s") is None
        assert PublishFailure.objects.get().arguments == {
            "repr": "event_type='invoice.paid', data=<Unfriendly without a repr>, tenant_id='acme', subject='s'"
        }

    def test_a_broken_table_leaves_the_callers_transaction_usable(self):
        make_event()
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE django_relay_event RENAME TO gone")
        assert emit_best_effort("invoice.paid", INVOICE, tenant_id="acme") is None
        assert "Error" in PublishFailure.objects.get().error
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE gone RENAME TO django_relay_event")
        assert make_event() is not None

    def test_a_failing_constraint_leaves_the_callers_transaction_usable(self):
        make_event()
        with connection.execute_wrapper(refuse_events):
            assert emit_best_effort("invoice.paid", INVOICE, tenant_id="acme") is None
        assert PublishFailure.objects.get().error.startswith("IntegrityError: ")
        assert make_event() is not None

    def test_when_nothing_can_be_stored_the_loss_is_logged(self, caplog):
        make_event()
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE django_relay_event RENAME TO gone")
            cursor.execute("ALTER TABLE django_relay_publishfailure RENAME TO gone_too")
        assert emit_best_effort("invoice.paid", INVOICE) is None
        lost = [record for record in caplog.records if record.event == "event.lost"]
        assert len(lost) == 1
        assert lost[0].caller.startswith("tests.pipeline.test_outbox:")
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE gone RENAME TO django_relay_event")
            cursor.execute("ALTER TABLE gone_too RENAME TO django_relay_publishfailure")
        assert make_event() is not None

    @pytest.mark.django_db(transaction=True)
    def test_works_outside_a_transaction(self):
        assert emit_best_effort("invoice.paid", INVOICE) == Event.objects.get()
        assert emit_best_effort("no.such", INVOICE) is None
        assert PublishFailure.objects.count() == 1

    def test_what_was_kept_can_be_emitted_again(self):
        moment = timezone.now() - timedelta(days=1)
        emit_best_effort("late.comer", {"a": Decimal("1.0")}, tenant_id="acme", occurred_at=moment)
        arguments = PublishFailure.objects.get().arguments
        make_event_type("late.comer")
        arguments["occurred_at"] = datetime.fromisoformat(arguments["occurred_at"])
        event = emit(arguments.pop("event_type"), arguments.pop("data"), **arguments)
        assert (event.payload, event.occurred_at, event.tenant_id) == ('{"a":"1.0"}', moment, "acme")


def refuse_events(execute, sql, parameters, many, context):
    """Turn an event's insert into one that breaks a constraint of the database itself."""
    before, insert, what = sql.partition("INSERT INTO ")
    if "django_relay_event" in what.split("(")[0]:
        sql = f"{before}{insert} django_relay_event (id) VALUES (NULL)"
        parameters = None
    return execute(sql, parameters, many, context)


class TestRevise:
    def test_an_event_says_something_else_under_its_id(self, free):
        event = make_event()
        with transaction.atomic():
            assert outbox.revise(
                event.pk,
                {"event_type": free, "data": {"a": 1}, "tenant_id": "globex", "subject": "a.B:1"},
                using="default",
            )
        stored = Event.objects.get()
        assert (stored.pk, stored.event_type, stored.tenant_id) == (event.pk, free, "globex")
        assert (json.loads(stored.payload), stored.subject) == ({"a": 1}, "a.B:1")
        assert stored.payload_hash != event.payload_hash
        assert stored.created_at == event.created_at

    def test_not_one_that_is_gone_or_was_fanned_out(self, free):
        event = make_event()
        Event.objects.update(status="dispatched")
        for event_id in (event.pk, deterministic_event_id("none")):
            assert not outbox.revise(event_id, {"event_type": free, "data": {}}, using="default")
        assert Event.objects.get().payload == event.payload

    def test_checks_what_emit_checks(self):
        event = make_event()
        with pytest.raises(exceptions.InvalidPayload):
            outbox.revise(event.pk, {"event_type": "invoice.paid", "data": {}}, using="default")


class TestWithdraw:
    def test_deletes_what_is_pending(self):
        first, second = make_event(), make_event()
        Event.objects.filter(pk=first.pk).update(status="dispatched")
        assert outbox.withdraw([first.pk, second.pk], using="default") == 1
        assert Event.objects.get().pk == first.pk

"""Fields by themselves; what rows make of them is in test_payloads."""

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.contrib.postgres import fields as postgres
from django.contrib.sessions.models import Session
from django.db import connection, models
from django.db.backends.postgresql.psycopg_any import NumericRange
from django.test.utils import isolate_apps

from django_relay import exceptions
from django_relay.models import SigningSecret
from django_relay.rules import examples, schemas
from django_relay.sources import model_fields
from tests.sources.library.models import Author, Book, EncryptedTextField, Parcel, Point, Rating, Token


def field(name):
    return Book._meta.get_field(name)


class TestValues:
    @pytest.mark.parametrize(
        ("name", "value", "written"),
        [
            ("title", "a", "a"),
            ("title", 5, "5"),
            ("genre", Book._meta.get_field("genre").default, "novel"),
            ("rating", Rating.GOOD, 2),
            ("pages", "7", 7),
            ("is_lent", 1, True),
            ("weight", 1, 1.0),
            ("price", Decimal("12.5"), "12.50"),
            ("price", 3, "3.00"),
            ("price", "1e1", "10.00"),
            ("price", 0.1, "0.10"),
            ("printed_on", date(2026, 1, 2), "2026-01-02"),
            ("printed_on", datetime(2026, 1, 2, 23, tzinfo=UTC), "2026-01-02"),
            ("printed_on", "2026-01-02", "2026-01-02"),
            ("lent_at", datetime(2026, 1, 2, 3, tzinfo=UTC), "2026-01-02T03:00:00+00:00"),
            ("lent_at", datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=1))), "2026-01-02T02:00:00+00:00"),
            ("lent_at", datetime(2026, 1, 2, 3), "2026-01-02T03:00:00+00:00"),  # noqa: DTZ001
            ("opens", time(9, 30), "09:30:00"),
            ("lent_for", timedelta(days=1, microseconds=5), "P1DT00H00M00.000005S"),
            ("lent_for", -timedelta(hours=1), "-P0DT01H00M00S"),
            ("isbn", "0190163d8694739baea5966c26f8ad91", "0190163d-8694-739b-aea5-966c26f8ad91"),
            ("address", "::FFFF:10.0.0.1", "::ffff:10.0.0.1"),
            ("blob", memoryview(b"\x00\x01"), "AAE="),
            ("blob", b"\x00\x01", "AAE="),
            ("cover", "covers/a.png", "covers/a.png"),
            ("extra", {"a": (1, 2)}, {"a": [1, 2]}),
            ("notes", {"at": date(2026, 1, 2)}, {"at": "2026-01-02"}),
            ("shout", "hey", "hey"),
            ("place", Point(1, 2), "1,2"),
            ("author", UUID(int=1), "00000000-0000-0000-0000-000000000001"),
            ("reader", "r-1", "r-1"),
            ("price", None, None),
        ],
    )
    def test_are_written(self, name, value, written):
        assert model_fields.encode(field(name), value) == written
        assert type(model_fields.encode(field(name), value)) is type(written)

    @pytest.mark.parametrize(
        ("name", "value"),
        [("pages", "s3cret"), ("price", "s3cret"), ("lent_at", "s3cret"), ("isbn", 1.5), ("opens", 3)],
    )
    def test_that_are_none_of_the_field_are_refused_unseen(self, name, value):
        with pytest.raises(exceptions.InvalidPayload) as caught:
            model_fields.encode(field(name), value)
        assert f"Book.{name}" in str(caught.value)
        assert "s3cret" not in str(caught.value)

    def test_of_json_are_a_copy(self):
        value = {"a": [1]}
        written = model_fields.encode(field("extra"), value)
        value["a"].append(2)
        assert written == {"a": [1]}

    def test_are_of_the_default_time_zone_where_they_have_none(self, settings):
        settings.TIME_ZONE, settings.USE_TZ = "Asia/Tokyo", False
        written = model_fields.encode(field("lent_at"), datetime(2026, 1, 2, 3))  # noqa: DTZ001
        assert written == "2026-01-01T18:00:00+00:00"


class TestSchemas:
    @pytest.mark.parametrize(
        ("name", "schema"),
        [
            ("title", {"type": "string", "maxLength": 30}),
            ("subtitle", {"type": ["string", "null"], "maxLength": 30}),
            ("text", {"type": "string"}),
            ("genre", {"enum": ["novel", "poem", ""]}),
            ("rating", {"enum": [1, 2, None]}),
            ("size", {"enum": ["1.5", None]}),
            ("pages", {"type": "integer", "minimum": 0}),
            ("weight", {"type": "number"}),
            ("is_sold", {"type": ["boolean", "null"]}),
            ("printed_on", {"type": ["string", "null"], "format": "date"}),
            ("lent_at", {"type": ["string", "null"], "format": "date-time"}),
            ("isbn", {"type": "string", "format": "uuid"}),
            ("shout", {}),
            ("place", {}),
            ("plain", {"type": "string", "maxLength": 20}),
            ("author", {"type": ["string", "null"], "format": "uuid"}),
        ],
    )
    def test_say_what_the_column_holds(self, name, schema):
        assert model_fields.schema_of(field(name)) == schema

    def test_let_null_in_where_the_database_computes(self):
        assert model_fields.schema_of(Parcel._meta.get_field("double")) == {"type": ["integer", "null"]}

    def test_never_ask_for_choices_that_are_computed(self):
        lazy = models.CharField(max_length=5, choices=lambda: pytest.fail("asked"))
        lazy.set_attributes_from_name("lazy")
        assert model_fields.schema_of(lazy) == {"type": "string", "maxLength": 5}

    @pytest.mark.parametrize("model", apps.get_models(), ids=lambda model: model._meta.label)
    def test_can_be_made_of_every_model_and_fit_their_examples(self, model):
        for own in model._meta.concrete_fields:
            schema = model_fields.schema_of(own)
            assert schemas.errors(schemas.compile(schema), examples.of(schema)) == []


class TestSecrets:
    @pytest.mark.parametrize(
        ("model", "name"),
        [
            (User, "password"),
            (Session, "session_key"),
            (Session, "session_data"),
            (Token, "key"),
            (Book, "pin"),
            (Book, "api_key"),
            (Book, "diary"),
            (SigningSecret, "key"),
        ],
        ids=lambda part: part if isinstance(part, str) else part.__name__,
    )
    def test_are_seen_by_name_model_and_class(self, model, name):
        assert model_fields.is_secret(model._meta.get_field(name))

    @pytest.mark.parametrize(
        ("name", "made"),
        [
            ("secret", models.BooleanField()),
            ("password", models.DateTimeField()),
            ("tokens", models.PositiveIntegerField()),
            ("salt", models.DecimalField(max_digits=3, decimal_places=1)),
            ("token", models.DurationField()),
        ],
    )
    def test_are_not_kept_in_fields_that_cannot_hold_them(self, name, made):
        made.set_attributes_from_name(name)
        made.model = Book
        assert not model_fields.is_secret(made)

    @pytest.mark.parametrize(("name", "made"), [("otp", models.IntegerField()), ("born", EncryptedTextField())])
    def test_are_codes_and_whatever_is_encrypted(self, name, made):
        made.set_attributes_from_name(name)
        made.model = Book
        assert model_fields.is_secret(made)

    def test_are_no_more_of_a_book_and_its_author(self):
        seen = {
            own.name for model in (Book, Author) for own in model._meta.concrete_fields if model_fields.is_secret(own)
        }
        assert seen == {"pin", "api_key", "diary"}


@pytest.mark.django_db
@isolate_apps("tests.sources.library")
def test_fields_of_postgresql_fit_their_schema(backend):
    if backend != "postgres":
        pytest.skip("only PostgreSQL has arrays, ranges and hstore")

    class Shelf(models.Model):
        names = postgres.ArrayField(models.CharField(max_length=5), size=3)
        grid = postgres.ArrayField(postgres.ArrayField(models.DecimalField(max_digits=4, decimal_places=1)), null=True)
        numbers = postgres.IntegerRangeField()
        prices = postgres.DecimalRangeField(null=True)
        days = postgres.DateRangeField(null=True)
        hours = postgres.DateTimeRangeField(null=True)
        nothing = postgres.IntegerRangeField()

        class Meta:
            app_label = "library"

    with connection.schema_editor() as editor:
        editor.create_model(Shelf)
    row = Shelf.objects.create(
        names=["a", "b"],
        grid=[[Decimal(1)], [Decimal("2.5")]],
        numbers=(1, 5),
        prices=NumericRange(Decimal("1.5"), None),
        days=(date(2026, 1, 1), date(2026, 2, 1)),
        hours=(datetime(2026, 1, 1, tzinfo=UTC), None),
        nothing=NumericRange(empty=True),
    )
    expected = {
        "id": row.pk,
        "names": ["a", "b"],
        "grid": [["1.0"], ["2.5"]],
        "numbers": {"lower": 1, "upper": 5, "bounds": "[)"},
        "prices": {"lower": "1.5", "upper": None, "bounds": "[)"},
        "days": {"lower": "2026-01-01", "upper": "2026-02-01", "bounds": "[)"},
        "hours": {"lower": "2026-01-01T00:00:00+00:00", "upper": None, "bounds": "[)"},
        "nothing": {"empty": True},
    }
    for found in (row, Shelf.objects.get()):
        written = {own.name: model_fields.encode(own, own.value_from_object(found)) for own in Shelf._meta.fields}
        assert written == expected
    for own in Shelf._meta.fields:
        validator = schemas.compile(model_fields.schema_of(own))
        assert schemas.errors(validator, expected[own.name]) == []
        assert schemas.errors(validator, examples.of(model_fields.schema_of(own))) == []


class TestPlainValues:
    @pytest.mark.parametrize(
        ("value", "written"),
        [
            (Rating.BAD, 1),
            (timedelta(hours=2), "P0DT02H00M00S"),
            (b"\x00\x01", "AAE="),
            ([1], [1]),
            (datetime(2026, 1, 2, 3), "2026-01-02T03:00:00+00:00"),  # noqa: DTZ001
        ],
    )
    def test_are_written_where_their_type_says_how(self, value, written):
        found = model_fields.encode_plain(value)
        assert found == written

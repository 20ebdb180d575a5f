import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from rest_framework import serializers as drf

from django_relay import WebhookDefinition, exceptions
from django_relay.rules import payloads as rules
from django_relay.rules import schemas
from django_relay.sources import payloads
from tests.sources.library.models import Author, Blurb, Book, Edition, Genre, OldBook, Point, Rating, Reader, Tag

pytestmark = pytest.mark.django_db


def refuse(value):
    raise TypeError(type(value).__name__)


def sent(payload, instance):
    return json.loads(rules.encode(payload.of(instance), max_bytes=10**6, max_depth=64, convert=refuse))


def properties(serializer, model=Book):
    payload = payloads.make(model, serializer=serializer)
    WebhookDefinition("thing.created", schema=payload.schema(), example=payload.example()).check()
    return payload.schema()["properties"]


def required(serializer, model=Book):
    return payloads.make(model, serializer=serializer).schema()["required"]


def errors(payload, data):
    return schemas.errors(schemas.compile(payload.schema()), data)


class AuthorSerializer(drf.ModelSerializer):
    class Meta:
        model = Author
        fields = ["id", "name"]


class BookSerializer(drf.ModelSerializer):
    author = AuthorSerializer()
    author_name = drf.CharField(source="author.name", read_only=True)
    blurb = drf.PrimaryKeyRelatedField(read_only=True)
    initials = drf.SerializerMethodField()
    unknown = drf.SerializerMethodField()
    secret_word = drf.CharField(write_only=True)
    tags = drf.StringRelatedField(many=True)

    class Meta:
        model = Book
        # All but the custom fields and bytes, which ModelSerializer cannot represent.
        exclude = ["place", "blob", "api_key", "diary"]

    def get_initials(self, book) -> str:
        return book.title[:1]

    def get_unknown(self, book):
        return {"title": book.title}


class Shouted(drf.CharField):
    def to_representation(self, value):
        return [value.upper()]


@pytest.fixture
def book():
    return Book.objects.create(
        title="a",
        author=Author.objects.create(name="Ada"),
        genre=Genre.POEM,
        rating=Rating.GOOD,
        size=Decimal("1.5"),
        printed_on=date(2026, 1, 2),
        lent_at=datetime(2026, 1, 2, 3, tzinfo=UTC),
        cover="covers/a.png",
        place=Point(1, 2),
        notes={"at": 1},
    )


class TestTheData:
    @pytest.mark.parametrize("given", [BookSerializer, f"{__name__}.BookSerializer"], ids=["class", "path"])
    def test_is_the_serializers(self, book, given):
        payload = payloads.make(Book, serializer=given)
        data = payload.of(book)
        assert data == json.loads(json.dumps(data))
        assert data["author"] == {"id": str(book.author_id), "name": "Ada"}
        assert data["price"] == "10.00"
        assert "secret_word" not in data
        assert payload.field_names is None

    def test_fits_the_schema(self, book):
        payload = payloads.make(Book, serializer=BookSerializer)
        book.tags.add(Tag.objects.create(name="new"))
        sparse = Book.objects.create(title="b")
        for instance in (book, Book.objects.get(pk=book.pk)):
            assert errors(payload, sent(payload, instance)) == []
        assert errors(payload, sent(payload, sparse)) == []

    def test_has_the_keys_that_the_schema_names(self, book):
        payload = payloads.make(Book, serializer=BookSerializer)
        assert payload.of(book).keys() == payload.schema()["properties"].keys()
        assert set(payload.schema()["required"]) <= payload.of(book).keys()

    def test_is_written_as_the_projects_api_writes_it(self, book):
        class Serializer(drf.Serializer):
            price = drf.DecimalField(8, 2, coerce_to_string=False)
            lent_at = drf.DateTimeField(format=None)
            lent_for = drf.DurationField()

        payload = payloads.make(Book, serializer=Serializer)
        assert payload.of(book) == {"price": 10.0, "lent_at": "2026-01-02T03:00:00Z", "lent_for": "14 00:00:00"}
        assert errors(payload, payload.of(book)) == []

    def test_must_be_a_mapping(self, book):
        class Serializer(drf.BaseSerializer):
            def to_representation(self, instance):
                return [instance.title]

        with pytest.raises(exceptions.InvalidPayload, match=r"Serializer gave list; a payload is a mapping"):
            payloads.make(Book, serializer=Serializer).of(book)

    def test_is_of_rows_of_proxies_and_children_too(self, book):
        assert payloads.make(OldBook, serializer=BookSerializer).of(OldBook.objects.get())["title"] == "a"
        edition = Edition.objects.create(title="e")
        assert payloads.make(Edition, serializer=BookSerializer).of(edition)["title"] == "e"


class TestTheRequest:
    def test_is_not_there_for_those_who_ask(self, book):
        class Serializer(drf.Serializer):
            link = drf.SerializerMethodField()

            def get_link(self, book) -> str:
                return self.context["request"].build_absolute_uri(book.title)

        with pytest.raises(exceptions.InvalidPayload, match=r"Serializer asked for the request .*\(KeyError\)"):
            payloads.make(Book, serializer=Serializer).of(book)

    def test_is_not_there_for_links(self, book):
        class Serializer(drf.Serializer):
            url = drf.HyperlinkedIdentityField(view_name="book")

        with pytest.raises(exceptions.InvalidPayload, match=r"asked for the request .* give a serializer that does"):
            payloads.make(Book, serializer=Serializer).of(book)

    def test_is_not_there_for_those_who_use_it_unseen(self, book):
        class Serializer(drf.Serializer):
            mine = drf.SerializerMethodField()

            def get_mine(self, book) -> bool:
                return self.context.get("request").user == book

        with pytest.raises(exceptions.InvalidPayload, match=r"\(AttributeError\)"):
            payloads.make(Book, serializer=Serializer).of(book)

    def test_is_not_missed_by_those_who_do_without(self, book):
        class Serializer(drf.Serializer):
            mine = drf.SerializerMethodField()

            def get_mine(self, book) -> bool:
                return "request" in self.context or self.context.get("request") is not None

        assert payloads.make(Book, serializer=Serializer).of(book) == {"mine": False}

    def test_is_not_blamed_for_what_else_fails(self, book):
        class Serializer(drf.Serializer):
            broken = drf.SerializerMethodField()

            def get_broken(self, book):
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            payloads.make(Book, serializer=Serializer).of(book)

    def test_cannot_decide_the_fields(self):
        class Serializer(drf.Serializer):
            def get_fields(self):
                return {} if self.context["request"].user else {"title": drf.CharField()}

        with pytest.raises(
            exceptions.InvalidDeclaration, match=r"fields of .*Serializer cannot be read: .*the request"
        ):
            payloads.make(Book, serializer=Serializer)


class TestTheSchema:
    def test_of_a_model_serializer_takes_null_from_the_model(self):
        found = properties(BookSerializer)
        assert found["id"] == {"type": "integer"}
        assert found["title"] == {"type": "string"}
        assert found["subtitle"] == {"type": ["string", "null"]}
        assert found["genre"] == {"enum": ["novel", "poem", ""]}
        assert found["rating"] == {"enum": [1, 2, None]}
        assert found["isbn"] == {"type": "string", "format": "uuid"}
        assert found["lent_at"] == {"type": ["string", "null"], "format": "date-time"}
        assert found["created_at"] == {"type": "string", "format": "date-time"}
        assert found["printed_on"] == {"type": ["string", "null"], "format": "date"}
        assert found["reader"]["type"] == ["string", "null"]
        assert found["tags"] == {"type": "array", "items": {"type": "string"}}
        assert found["blurb"] == {"type": ["integer", "null"]}

    def test_has_no_key_that_is_only_written(self):
        assert "secret_word" not in properties(BookSerializer)

    def test_takes_nested_serializers_in(self):
        assert properties(BookSerializer)["author"] == {
            "type": ["object", "null"],
            "properties": {"id": {"type": "string", "format": "uuid"}, "name": {"type": "string"}},
            "required": ["id", "name"],
        }

    def test_lets_be_missing_what_rest_framework_leaves_out(self, book):
        assert "author_name" not in required(BookSerializer)
        assert properties(BookSerializer)["author_name"] == {"type": ["string", "null"]}
        assert "author_name" not in payloads.make(Book, serializer=BookSerializer).of(Book.objects.create(title="b"))
        assert {"id", "title", "author", "blurb", "initials", "tags"} <= set(required(BookSerializer))

    def test_reads_what_methods_say_they_return(self):
        found = properties(BookSerializer)
        assert found["initials"] == {"type": "string"}
        assert found["unknown"] == {}

    def test_takes_lists_of_rows_in(self):
        class Serializer(drf.ModelSerializer):
            books = drf.ListSerializer(child=drf.PrimaryKeyRelatedField(read_only=True), read_only=True)
            titles = drf.SlugRelatedField("title", source="books", many=True, read_only=True)

            class Meta:
                model = Author
                fields = ["books", "titles"]

        found = properties(Serializer, Author)
        assert found["books"] == {"type": "array", "items": {"type": "integer"}}
        assert found["titles"] == {"type": "array", "items": {"type": "string", "maxLength": 30}}
        author = Author.objects.create(name="Ada")
        Book.objects.create(title="a", author=author)
        payload = payloads.make(Author, serializer=Serializer)
        assert errors(payload, sent(payload, author)) == []

    @pytest.mark.parametrize(
        ("field", "schema"),
        [
            (drf.DecimalField(8, 2, source="price"), {"type": "string", "examples": ["1.00"]}),
            (drf.DecimalField(8, 2, source="price", coerce_to_string=False), {"type": "number"}),
            (drf.DateTimeField(format="%d.%m.%Y", source="created_at"), {"type": "string"}),
            (drf.DateTimeField(format=None, source="created_at"), {"type": "string", "format": "date-time"}),
            (drf.DateField(format="%d.%m.%Y", source="printed_on"), {"type": ["string", "null"]}),
            (drf.TimeField(source="opens"), {"type": ["string", "null"]}),
            (drf.UUIDField(format="int", source="isbn"), {"type": "integer"}),
            (drf.UUIDField(format="hex", source="isbn"), {"type": "string"}),
            (drf.FileField(source="cover"), {"type": ["string", "null"]}),
            (drf.JSONField(source="extra"), {}),
            (drf.JSONField(source="extra", binary=True), {"type": "string"}),
            (drf.DictField(source="extra"), {"type": "object", "additionalProperties": {}}),
            (
                drf.ListField(child=drf.IntegerField(), source="extra"),
                {"type": "array", "items": {"type": ["integer", "null"]}},
            ),
            (drf.MultipleChoiceField(choices=["a"], source="extra"), {"type": "array", "items": {"enum": ["a", ""]}}),
            (drf.ChoiceField([(Decimal(1), "one")], source="size"), {}),
            (drf.IntegerField(source="author_id"), {"type": ["integer", "null"]}),
            (drf.CharField(source="heading"), {"type": ["string", "null"]}),
            (drf.ReadOnlyField(source="heading"), {"type": ["string", "null"]}),
            (drf.ReadOnlyField(source="page_count"), {"type": ["integer", "null"]}),
            (drf.ReadOnlyField(source="unclear"), {}),
            (drf.ReadOnlyField(source="title"), {}),
            (Shouted(source="title"), {}),
            (drf.PrimaryKeyRelatedField(read_only=True, source="author"), {"type": ["string", "null"], "format": "uuid"}),
            (drf.PrimaryKeyRelatedField(read_only=True, source="author", pk_field=drf.UUIDField(format="hex")), {"type": ["string", "null"]}),
            (drf.PrimaryKeyRelatedField(queryset=Reader.objects, source="reader"), {"type": ["string", "null"], "maxLength": 12, "examples": ["a-slug"]}),
            (drf.SlugRelatedField("name", read_only=True, source="author"), {"type": ["string", "null"], "maxLength": 40}),
            (drf.SlugRelatedField("heading", read_only=True, source="blurb"), {}),
            (drf.StringRelatedField(source="author"), {"type": ["string", "null"]}),
            (drf.HyperlinkedRelatedField("book", read_only=True, source="author"), {"type": ["string", "null"]}),
        ],
        ids=lambda part: type(part).__name__,
    )  # fmt: skip
    def test_of_each_field_is_of_what_it_represents(self, field, schema):
        serializer = type("Serializer", (drf.Serializer,), {"thing": field})
        assert properties(serializer)["thing"] == schema

    def test_follows_the_settings_of_rest_framework(self, settings, book):
        class Serializer(drf.Serializer):
            price = drf.DecimalField(8, 2)
            lent_at = drf.DateTimeField()
            copies = drf.IntegerField()

        settings.REST_FRAMEWORK = {"COERCE_DECIMAL_TO_STRING": False, "DATETIME_FORMAT": "%Y"}
        payload = payloads.make(Book, serializer=Serializer)
        assert payload.schema()["properties"]["price"] == {"type": "number"}
        assert payload.schema()["properties"]["lent_at"] == {"type": ["string", "null"]}
        assert payload.of(book) == {"price": 10.0, "lent_at": "2026", "copies": 0}

    def test_promises_no_offset_where_times_have_none(self, settings):
        class Serializer(drf.Serializer):
            created_at = drf.DateTimeField()

        settings.USE_TZ = False
        assert properties(Serializer) == {"created_at": {"type": "string"}}

    @pytest.mark.parametrize(
        "base", [drf.BaseSerializer, drf.Serializer, BookSerializer], ids=lambda base: base.__name__
    )
    def test_is_any_object_where_the_representation_is_the_projects_own(self, base):
        class Serializer(base):
            def to_representation(self, instance) -> Any:
                return {"anything": 1}

        assert payloads.make(Book, serializer=Serializer).schema() == {"type": "object"}

    def test_of_nested_serializers_of_the_projects_own_is_anything(self):
        class Own(drf.BaseSerializer):
            def to_representation(self, instance):
                return 1

        class OwnRows(AuthorSerializer):
            def to_representation(self, instance):
                return {"a": 1}

        class Serializer(drf.Serializer):
            author = Own()
            other = OwnRows(source="author")

        assert properties(Serializer) == {"author": {}, "other": {"type": ["object", "null"]}}

    def test_takes_nothing_for_granted_of_a_field_that_finds_its_value_itself(self):
        class Found(drf.CharField):
            def get_attribute(self, instance):
                return None

        class Serializer(drf.Serializer):
            title = Found()

        assert properties(Serializer) == {"title": {"type": ["string", "null"]}}

    def test_is_nullable_over_relations_that_may_lead_nowhere(self):
        class Serializer(drf.Serializer):
            text = drf.CharField(source="book.title")
            author = drf.CharField(source="book.author.name", default="nobody")

        assert properties(Serializer, Blurb) == {"text": {"type": "string"}, "author": {"type": ["string", "null"]}}
        assert required(Serializer, Blurb) == ["text", "author"]


class TestADeclaration:
    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (BookSerializer(), "serializer must be a serializer class"),
            (Book, "serializer must be a serializer class"),
            ("tests.sources.library.models.Book", "serializer must be a serializer class"),
            ("nowhere.Serializer", r"serializer 'nowhere\.Serializer' cannot be imported"),
            (AuthorSerializer, r"AuthorSerializer is of library\.Author, and cannot serialize library\.Book"),
        ],
        ids=["instance", "model", "path", "nowhere", "other model"],
    )
    def test_that_cannot_work_is_refused(self, given, message):
        with pytest.raises(exceptions.InvalidDeclaration, match=message):
            payloads.make(Book, serializer=given)

    def test_of_a_serializer_with_wrong_fields_says_which(self):
        class Serializer(drf.ModelSerializer):
            class Meta:
                model = Book
                fields = ["titel"]

        with pytest.raises(exceptions.InvalidDeclaration, match=r"cannot be read: ImproperlyConfigured: .*`titel`"):
            payloads.make(Book, serializer=Serializer)

    def test_costs_no_query(self, django_assert_num_queries):
        with django_assert_num_queries(0):
            payloads.make(Book, serializer=BookSerializer)


def test_durations_are_text(book):
    class Serializer(drf.Serializer):
        lent_for = drf.DurationField()

    book.lent_for = timedelta(hours=1)
    payload = payloads.make(Book, serializer=Serializer)
    assert errors(payload, sent(payload, book)) == []

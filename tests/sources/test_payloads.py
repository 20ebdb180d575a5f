import json
import string
import subprocess
import sys
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.db import models, transaction
from django.db.models import F, Value
from django.db.models.functions import Now
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_relay import WebhookDefinition, exceptions
from django_relay.rules import payloads as rules
from django_relay.rules import schemas
from django_relay.sources import payloads
from tests.sources.library.models import (
    Author,
    Blurb,
    Book,
    Edition,
    Genre,
    Loan,
    OldBook,
    Parcel,
    Point,
    Rating,
    Reader,
    Tag,
    Token,
)

pytestmark = pytest.mark.django_db


def refuse(value):
    raise TypeError(type(value).__name__)


def sent(payload, instance):
    """Return the data as a receiver reads it."""
    return json.loads(rules.encode(payload.of(instance), max_bytes=10**6, max_depth=64, convert=refuse))


def errors(payload, data):
    return schemas.errors(schemas.compile(payload.schema()), data)


def title(instance):
    return {"title": instance.title}


class TestTheDefault:
    def test_is_all_columns_with_ids_but_the_secret_ones(self):
        assert list(payloads.make(Author).schema()["properties"]) == ["id", "name", "email"]
        names = payloads.make(Book).schema()["properties"].keys()
        assert {"id", "author_id", "reader_id", "isbn", "created_at", "updated_at"} <= names
        assert not {"author", "pin", "api_key", "diary", "tags", "books"} & names

    def test_of_a_user_holds_no_password(self):
        assert "password" not in payloads.make(User).schema()["properties"]
        assert "email" in payloads.make(User).schema()["properties"]

    def test_of_a_token_does_not_hold_its_id_which_is_the_token(self):
        assert list(payloads.make(Token).schema()["properties"]) == ["created"]

    def test_requires_every_key(self):
        schema = payloads.make(Author).schema()
        assert schema["required"] == list(schema["properties"])

    def test_leaves_out_what_is_excluded_by_name_or_column(self):
        names = payloads.make(Book, exclude=["author", "reader_id", "title"]).schema()["properties"]
        assert not {"author_id", "reader_id", "title"} & names.keys()

    def test_of_a_child_has_its_parents_columns_and_the_id_once(self):
        names = payloads.make(Edition).schema()["properties"]
        assert {"id", "title", "number"} <= names.keys()
        assert "book_ptr_id" not in names

    def test_of_a_proxy_is_that_of_its_model(self):
        assert payloads.make(OldBook).schema() == payloads.make(Book).schema()

    def test_knows_what_it_reads(self):
        assert payloads.make(Author).field_names == {"id", "name", "email"}
        assert "author" in payloads.make(Book).field_names
        assert "pin" not in payloads.make(Book).field_names

    def test_says_the_row_as_it_is_now(self):
        payload, author = payloads.make(Author), Author.objects.create(name="Ada")
        data = payload.of(author)
        author.name = "Bob"
        assert data == {"id": str(author.pk), "name": "Ada", "email": ""}


class TestQueries:
    def test_are_none_for_a_row_at_hand(self, django_assert_num_queries):
        payload = payloads.make(Book)
        book = Book.objects.create(title="a", author=Author.objects.create(name="Ada"))
        for instance in (book, Book.objects.get(), OldBook.objects.get()):
            with django_assert_num_queries(0):
                payload.of(instance)

    def test_are_one_for_all_deferred_fields_and_load_none_of_them(self, django_assert_num_queries):
        payload = payloads.make(Book)
        whole = payload.of(Book.objects.create(title="a"))
        book = Book.objects.only("title").get()
        with django_assert_num_queries(1):
            found = payload.of(book)
        assert found.keys() == whole.keys()
        assert found["price"] == "10.00"
        assert "price" in book.get_deferred_fields()

    def test_are_none_for_deferred_fields_that_are_not_wanted(self, django_assert_num_queries):
        Book.objects.create(title="a")
        book = Book.objects.only("title").get()
        with django_assert_num_queries(0):
            assert payloads.make(Book, fields=["id", "title"]).of(book) == {"id": book.pk, "title": "a"}

    def test_are_at_most_one_for_expressions(self, django_assert_max_num_queries):
        book = Book.objects.create(title="a", pages=3)
        book.pages, book.lent_at, book.title = F("pages") + 1, Now(), Value("b")
        book.save()
        payload = payloads.make(Book)
        with django_assert_max_num_queries(1):  # Django 6.0 reads them again when it saves
            data = payload.of(book)
        assert (data["pages"], data["title"]) == (4, "b")
        assert errors(payload, data) == []

    def test_are_one_for_what_the_database_computes(self):
        payload = payloads.make(Parcel)
        parcel = Parcel.objects.create(label="abc")
        assert payload.of(parcel) == {
            "id": parcel.pk, "width": 2, "label": "abc", "double": 4, "state": "new", "letters": 3,
        }  # fmt: skip
        parcel.width, parcel.label = 5, "abcd"
        parcel.save()
        data = payload.of(parcel)
        assert (data["double"], data["letters"]) == (10, 4)
        assert errors(payload, data) == []

    def test_go_where_the_row_is(self):
        Book.objects.create(title="a")
        book = Book.objects.only("title").get()
        book._state.db = "nowhere"
        with pytest.raises(Exception, match="nowhere"):
            payloads.make(Book).of(book)

    def test_for_a_row_that_is_gone_say_so(self):
        Book.objects.create(title="a")
        book = Book.objects.only("title").get()
        Book.objects.all().delete()
        with pytest.raises(exceptions.InvalidPayload, match=r"library\.Book: the row is gone, and subtitle, "):
            payloads.make(Book).of(book)

    def test_of_a_row_that_is_gone_give_what_was_computed_last(self):
        parcel = Parcel.objects.create(label="abc")
        Parcel.objects.all().delete()
        data = payloads.make(Parcel, exclude=["state"]).of(parcel)
        assert (data["double"], data["letters"]) == (4, 3)


class TestFields:
    def test_are_keys_as_they_are_written(self):
        author = Author.objects.create(name="Ada")
        book = Book.objects.create(title="a", author=author)
        payload = payloads.make(Book, fields=["pk", "author", "author_id", "author__name", "heading"])
        assert payload.of(book) == {
            "pk": book.pk, "author": str(author.pk), "author_id": str(author.pk), "author__name": "Ada", "heading": "a!",
        }  # fmt: skip
        assert errors(payload, payload.of(book)) == []

    def test_may_be_secret_if_the_host_says_so(self):
        assert payloads.make(Book, fields=["pin"]).of(Book(title="a")) == {"pin": 1234}

    def test_may_be_none_at_all(self):
        assert payloads.make(Book, fields=[]).of(Book(title="a")) == {}

    @pytest.mark.parametrize(
        ("name", "value", "schema"),
        [
            ("heading", "a!", {"type": "string"}),
            ("unclear", [1, "two"], {}),
            ("loud", "A", {"type": ["string", "null"]}),
            ("page_count", 1, {"type": "integer"}),
            ("shelf", "Book", {"type": "string"}),
            ("rules", {"days": 14}, {"type": "object", "additionalProperties": {"type": "integer"}}),
            ("kind", "book", {}),
            ("get_genre_display", "Novel", {}),
        ],
    )
    def test_may_be_properties_methods_and_attributes(self, name, value, schema):
        payload = payloads.make(Book, fields=[name])
        assert payload.of(Book(title="a")) == {name: value}
        assert payload.schema()["properties"] == {name: schema}
        assert payload.field_names is None

    def test_over_a_relation_cost_a_query_unless_the_row_came_with_it(self, django_assert_num_queries):
        Book.objects.create(title="a", author=Author.objects.create(name="Ada"))
        payload = payloads.make(Book, fields=["author__name", "author__email"])
        with django_assert_num_queries(1):
            payload.of(book := Book.objects.select_related("author").get())
        with django_assert_num_queries(0):
            payload.of(book)
        assert payload.field_names == {"author"}

    def test_over_a_relation_that_leads_nowhere_are_null(self):
        payload = payloads.make(Book, fields=["author__name", "blurb__text"])
        data = payload.of(Book.objects.create(title="a"))
        assert data == {"author__name": None, "blurb__text": None}
        assert errors(payload, data) == []

    def test_go_over_relations_of_relations_and_back_over_one_to_one(self):
        book = Book.objects.create(title="a", author=Author.objects.create(name="Ada"))
        blurb = Blurb.objects.create(book=book, text="good")
        assert payloads.make(Book, fields=["blurb__text"]).of(book) == {"blurb__text": "good"}
        payload = payloads.make(Blurb, fields=["book__author__name", "book__heading", "book__title"])
        assert payload.of(blurb) == {"book__author__name": "Ada", "book__heading": "a!", "book__title": "a"}
        assert payload.schema()["properties"] == {
            "book__author__name": {"type": ["string", "null"], "maxLength": 40},
            "book__heading": {"type": "string"},
            "book__title": {"type": "string", "maxLength": 30},
        }

    def test_that_are_many_to_many_are_ids_in_order(self, django_assert_num_queries):
        book = Book.objects.create(title="a")
        tags = [Tag.objects.create(name=name) for name in "ab"]
        book.tags.set(reversed(tags))
        payload = payloads.make(Book, fields=["tags"])
        with django_assert_num_queries(1):
            data = payload.of(book)
        assert data == {"tags": [tag.pk for tag in tags]}
        assert errors(payload, data) == []

    def test_that_are_files_are_names_and_ask_no_storage(self, settings):
        settings.STORAGES = {"default": {"BACKEND": "tests.sources.library.storage.Broken"}}
        book = Book(title="a", cover="covers/a.png")
        assert payloads.make(Book, fields=["cover"]).of(book) == {"cover": "covers/a.png"}

    def test_that_are_files_just_saved_have_their_names(self, settings, tmp_path):
        settings.MEDIA_ROOT = tmp_path
        book = Book.objects.create(title="a", cover=ContentFile(b"x", name="a.png"))
        assert payloads.make(Book, fields=["cover"]).of(book) == {"cover": "covers/a.png"}

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            (["titel"], r"library\.Book has nothing named 'titel', which fields names\. Did you mean 'title'\?"),
            (["zzz"], r"Name fields, properties, methods without arguments, or paths such as a__b"),
            (["_meta"], "has nothing named '_meta'"),
            (["autor__name"], r"has no relation to one row named 'autor', .*Did you mean 'author'\?"),
            (["title__name"], "Relations to one row: author, reader"),
            (["author__nam"], r"library\.Author has nothing named 'nam', .*Did you mean 'name'\?"),
            (["tags__name"], "For many rows use a property or a serializer"),
            (["loan_set"], r"library\.Book\.loan_set is other rows"),
            (["blurb"], r"library\.Book\.blurb is other rows"),
            (["pages_until"], r"library\.Book\.pages_until\(\) takes arguments"),
            (["change"], r"library\.Book\.change\(\) changes data"),
            (["save"], "changes data"),
            (["delete"], "changes data"),
            ("title", "fields must be a list of names, not 'title'"),
            ([1], "fields must be a list of names"),
        ],
    )
    def test_that_cannot_be_read_are_refused_when_they_are_declared(self, fields, message):
        with pytest.raises(exceptions.InvalidDeclaration, match=message):
            payloads.make(Book, fields=fields)


class TestTheCallable:
    @pytest.mark.parametrize("given", [title, f"{__name__}.title"], ids=["object", "path"])
    def test_gives_the_data(self, given):
        payload = payloads.make(Book, payload=given)
        assert payload.of(Book(title="a")) == {"title": "a"}
        assert (payload.schema(), payload.example(), payload.field_names) == (None, None, None)

    def test_must_give_a_mapping(self):
        with pytest.raises(exceptions.InvalidPayload, match="returned str; a payload is a mapping"):
            payloads.make(Book, payload=lambda book: book.title).of(Book(title="a"))

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"payload": "nowhere.to_be"}, r"library\.Book: payload 'nowhere\.to_be' cannot be imported"),
            ({"payload": f"{__name__}.nothing"}, "cannot be imported: Module"),
            ({"payload": "title"}, "Give a dotted path"),
            ({"payload": 5}, "payload must be a callable"),
            ({"payload": title, "fields": ["title"]}, "give one of payload and fields, not more"),
            ({"payload": title, "exclude": ["title"]}, "exclude is for the default payload"),
            ({"exclude": ["titel"]}, r"no field 'titel', which exclude names\. Did you mean 'title'\?"),
            ({"exclude": ["heading"]}, "no field 'heading', which exclude names"),
            ({"exclude": "title"}, "exclude must be a list of names"),
        ],
    )
    def test_and_all_else_is_checked_when_it_is_declared(self, arguments, message):
        with pytest.raises(exceptions.InvalidDeclaration, match=message) as caught:
            payloads.make(Book, **arguments)
        assert caught.value.code == "bad_declaration"


class TestTheSchema:
    @pytest.mark.parametrize(
        "model", [Author, Book, Edition, Loan, Parcel, Reader, Token, User], ids=lambda model: model.__name__
    )
    def test_makes_a_definition_whose_example_fits(self, model):
        payload = payloads.make(model)
        definition = WebhookDefinition("thing.created", schema=payload.schema(), example=payload.example())
        definition.check()
        assert definition.example == payloads.make(model).example()

    def test_is_its_readers_own(self):
        payload = payloads.make(Author)
        payload.schema()["properties"].clear()
        assert payload.schema()["properties"]


def test_no_rest_framework_is_loaded_without_a_serializer():
    code = (
        "import os, sys; os.environ['DJANGO_SETTINGS_MODULE'] = 'example_project.settings'; import django; "
        "django.setup(); from django.contrib.auth.models import User; from django_relay.sources import payloads; "
        "payloads.make(User); assert 'rest_framework' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def text(size):
    return st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",)), max_size=size)


def decimals(digits, places):
    top = Decimal(10) ** (digits - places) - Decimal(1).scaleb(-places)
    return st.decimals(-top, top, places=places, allow_nan=False, allow_infinity=False)


WORDS = st.text(string.ascii_lowercase, min_size=1, max_size=10)
MOMENTS = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=st.just(UTC) | st.timezones())  # noqa: DTZ001
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e15, 1e15) | text(5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(text(5), children, max_size=3),
    max_leaves=8,
)
BOOKS = st.fixed_dictionaries(
    {
        "title": text(30),
        "subtitle": st.none() | text(30),
        "text": text(100),
        "slug": st.just("") | WORDS,
        "site": text(100),
        "genre": st.sampled_from([*Genre, ""]),
        "rating": st.none() | st.sampled_from(Rating),
        "size": st.none() | st.just(Decimal("1.5")),
        "pages": st.integers(0, 2**31 - 1),
        "copies": st.integers(-(2**63), 2**63 - 1),
        "weight": st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False),
        "price": decimals(8, 2),
        "ratio": st.none() | decimals(3, 3),
        "is_lent": st.booleans(),
        "is_sold": st.none() | st.booleans(),
        "printed_on": st.none() | st.dates(date(2, 1, 1)),
        "lent_at": st.none() | MOMENTS,
        "opens": st.none() | st.times(),
        "lent_for": st.timedeltas(-timedelta(days=10**6), timedelta(days=10**6)),
        "isbn": st.uuids(),
        "address": st.none() | st.ip_addresses().map(str),
        "address_v4": st.none() | st.ip_addresses(v=4).map(str),
        "cover": st.just("") | WORDS,
        "blob": st.binary(max_size=20),
        "extra": JSON.filter(lambda value: value is not None),
        "notes": st.none() | st.dictionaries(text(5), MOMENTS | decimals(8, 2) | st.uuids(), max_size=3),
        "place": st.none() | st.builds(Point, st.integers(0, 99), st.integers(0, 99)),
        "plain": text(20),
    }
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=BOOKS, related=st.booleans())
def test_what_is_sent_of_any_row_fits_the_schema_and_is_what_the_database_gives_back(values, related):
    payload = payloads.make(Book)
    if related:
        values["author"] = Author.objects.create(name="Ada")
        values["reader"] = Reader.objects.create(code=uuid.uuid4().hex[:12])
    with transaction.atomic():
        book = Book.objects.create(**values)
    before, after = sent(payload, book), sent(payload, Book.objects.get(pk=book.pk))
    assert errors(payload, before) == []
    assert errors(payload, after) == []
    # Fields of one's own may read otherwise than they were given: that is what they are for.
    assert {**before, "shout": "HEY"} == after


def test_the_wide_model_leaves_no_kind_of_field_out():
    kinds = {field.get_internal_type() for field in Book._meta.concrete_fields}
    known = {name for name in dir(models) if name.endswith("Field") and isinstance(getattr(models, name), type)}
    abstract = {"Field", "GeneratedField", "OrderWrt", "NOT_PROVIDED"}
    same = {"AutoField", "SmallAutoField", "ImageField", "EmailField", "URLField", "FilePathField", "IPAddressField"}
    whole = {name for name in known if name.startswith(("Positive", "Small", "Integer", "BigInteger"))}
    many = {"ManyToManyField", "OneToOneField", "NullBooleanField", "CommaSeparatedIntegerField"}
    expressions = {"OrderByField"}
    assert known - kinds - abstract - same - whole - many - expressions == set()

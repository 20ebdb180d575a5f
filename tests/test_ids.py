import json
import pickle
import uuid

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import connection

from django_relay import ids
from django_relay.fields import PrefixedIdField
from django_relay.models import Application, Endpoint, SigningSecret
from tests.factories import make_application, make_endpoint, unknown_id

GOOD = "01m8yk5qdceweacehm6y2yvxnm"
SECOND_SPELLINGS = {
    "upper case": "ep_" + GOOD.upper(),
    "upper-case prefix": "EP_" + GOOD,
    "above 128 bits": "ep_8" + GOOD[1:],
    "last letter of the alphabet": "ep_z" + GOOD[1:],
    "crockford's o for 0": "ep_o" + GOOD[1:],
    "crockford's l for 1": "ep_0l" + GOOD[2:],
    "u": "ep_" + GOOD[:-1] + "u",
    "hyphens": "ep_" + GOOD[:12] + "-" + GOOD[13:],
    "too short": "ep_" + GOOD[:-1],
    "too long": "ep_" + GOOD + "0",
    "blank before": " ep_" + GOOD,
    "newline after": "ep_" + GOOD + "\n",
    "no prefix": GOOD,
    "another prefix": "evt_" + GOOD,
    "prefix twice": "ep_ep_" + GOOD,
    "prefix alone": "ep_",
    "empty": "",
    "uuid": str(uuid.UUID(int=1)),
    "braces": "{12345678123456781234567812345678}",
    "urn": "urn:uuid:12345678-1234-5678-1234-567812345678",
    "arabic digit": "ep_\u0660" + GOOD[1:],
    "wide letter": "ep_" + GOOD[:-1] + "é",
    "half a surrogate pair": "ep_" + GOOD[:-1] + "\ud800",
    "nul": "ep_" + GOOD[:-1] + "\x00",
    "sql": "1 OR 1=1",
    "path": "../../admin",
}


class TestToUuid:
    def test_is_the_inverse_of_from_uuid(self):
        for value in (uuid.UUID(int=0), uuid.UUID(int=2**128 - 1), uuid.uuid4()):
            assert ids.to_uuid(ids.from_uuid(value, prefix="ep_"), prefix="ep_") == value

    def test_the_specifications_own_examples(self):
        """From typeid/spec, valid.yml: nil, max-valid, valid-alphabet."""
        assert ids.from_uuid(uuid.UUID(int=0), prefix="") == "0" * 26
        assert ids.from_uuid(uuid.UUID(int=2**128 - 1), prefix="prefix_") == "prefix_7zzzzzzzzzzzzzzzzzzzzzzzzz"
        value = uuid.UUID("0110c853-1d09-52d8-d73e-1194e95b5f19")
        assert ids.from_uuid(value, prefix="prefix_") == "prefix_0123456789abcdefghjkmnpqrs"

    @pytest.mark.parametrize("value", SECOND_SPELLINGS.values(), ids=SECOND_SPELLINGS)
    def test_one_spelling_only(self, value):
        with pytest.raises(ValueError, match=r"An id of the form|surrogates"):
            ids.to_uuid(value, prefix="ep_")


class TestNew:
    def test_ids_grow_in_the_order_they_are_made(self):
        made = [ids.new("evt_") for _ in range(10_000)]
        assert made == sorted(made)
        assert len(set(made)) == 10_000

    def test_is_a_version_7_uuid(self):
        value = ids.to_uuid(ids.new("evt_"), prefix="evt_")
        assert (value.version, value.variant) == (7, uuid.RFC_4122)


@pytest.mark.django_db
class TestPrefixedIdField:
    def test_a_row_is_found_by_its_string(self):
        endpoint = make_endpoint()
        assert endpoint.pk.startswith("ep_")
        assert Endpoint.objects.get(pk=endpoint.pk) == endpoint
        assert Endpoint.objects.get(pk=endpoint.pk).pk == endpoint.pk
        assert list(Endpoint.objects.filter(pk=endpoint.pk)) == [endpoint]
        assert list(Endpoint.objects.exclude(pk=endpoint.pk)) == []

    def test_a_row_is_found_by_its_uuid(self):
        endpoint = make_endpoint()
        assert Endpoint.objects.get(pk=ids.to_uuid(endpoint.pk, prefix="ep_")) == endpoint

    def test_several_rows(self):
        first, second, third = make_endpoint(), make_endpoint(), make_endpoint()
        wanted = Endpoint.objects.filter(pk__in=[third.pk, first.pk, unknown_id("ep_")]).order_by("pk")
        assert list(wanted) == [first, third]
        assert Endpoint.objects.in_bulk([second.pk]) == {second.pk: second}
        assert list(Endpoint.objects.filter(pk__gt=first.pk).order_by("pk")) == [second, third]

    def test_nothing_is_found_by_an_id_of_the_kind_that_no_row_has(self):
        with pytest.raises(Endpoint.DoesNotExist):
            Endpoint.objects.get(pk=unknown_id("ep_"))

    def test_foreign_keys_show_and_take_the_string(self):
        endpoint = make_endpoint()
        secret = SigningSecret.objects.get(endpoint=endpoint.pk)
        assert secret.endpoint_id == endpoint.pk
        assert SigningSecret.objects.get(endpoint_id=endpoint.pk) == secret
        assert SigningSecret.objects.get(endpoint__pk__in=[endpoint.pk]).endpoint == endpoint
        assert list(SigningSecret.objects.filter(endpoint__in=Endpoint.objects.filter(pk=endpoint.pk))) == [secret]

    def test_values_are_strings(self):
        endpoint = make_endpoint()
        assert list(Endpoint.objects.values_list("pk", "application_id")) == [(endpoint.pk, endpoint.application_id)]
        assert list(SigningSecret.objects.values_list("endpoint", flat=True)) == [endpoint.pk]
        assert Endpoint.objects.values("id").get() == {"id": endpoint.pk}

    @pytest.mark.parametrize("value", [*SECOND_SPELLINGS.values(), 1, 1.5, b"x", [], object], ids=ascii)
    def test_anything_else_is_a_validation_error(self, value):
        make_endpoint()
        with pytest.raises(ValidationError) as caught:
            Endpoint.objects.filter(pk=value).first()
        assert caught.value.code == "invalid"
        with pytest.raises(ValidationError):
            Endpoint.objects.filter(pk__in=[value]).first()
        with pytest.raises(ValidationError):
            Application.objects.create(pk=value, slug="a", name="A")

    def test_the_id_of_another_kind_of_row_matches_nothing_by_mistake(self):
        endpoint = make_endpoint()
        disguised = "evt_" + endpoint.pk.removeprefix("ep_")
        with pytest.raises(ValidationError):
            Endpoint.objects.filter(pk=disguised).exists()

    def test_rows_sort_in_the_order_they_were_made(self):
        made = [make_application(f"a{number}").pk for number in range(20)]
        assert (
            list(Application.objects.filter(slug__startswith="a").order_by("pk").values_list("pk", flat=True)) == made
        )
        assert made == sorted(made)

    def test_ids_survive_json_and_pickle(self):
        endpoint = make_endpoint()
        assert json.loads(json.dumps(endpoint.pk)) == endpoint.pk
        again = pickle.loads(pickle.dumps(endpoint))
        assert again == endpoint
        assert again.pk == endpoint.pk
        query = pickle.loads(pickle.dumps(Endpoint.objects.filter(pk=endpoint.pk).query))
        queryset = Endpoint.objects.all()
        queryset.query = query
        assert list(queryset) == [endpoint]

    def test_the_column_is_a_native_uuid(self):
        endpoint = make_endpoint()
        with connection.cursor() as cursor:
            cursor.execute("SELECT id FROM django_relay_endpoint")
            (value,) = cursor.fetchone()
        expected = ids.to_uuid(endpoint.pk, prefix="ep_")
        assert value == (expected if connection.vendor == "postgresql" else expected.hex)

    def test_deconstructs_into_its_prefix(self):
        field = Endpoint._meta.pk
        _name, path, args, kwargs = field.deconstruct()
        assert (path, args) == ("django_relay.fields.PrefixedIdField", [])
        assert kwargs == {"prefix": "ep_", "primary_key": True, "serialize": False, "editable": False}
        assert PrefixedIdField(**kwargs).new().startswith("ep_")

    def test_the_migrations_are_up_to_date(self):
        call_command("makemigrations", "django_relay", check=True, dry_run=True, verbosity=0)

    def test_every_table_has_a_prefix_of_its_own(self):
        from django.apps import apps

        prefixes = [
            model._meta.pk.prefix
            for model in apps.get_app_config("django_relay").get_models()
            if isinstance(model._meta.pk, PrefixedIdField)
        ]
        assert len(set(prefixes)) == len(prefixes) >= 10
        assert all(prefix.endswith("_") for prefix in prefixes)

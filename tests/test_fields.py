import base64
import copy
import json
import pickle
import re

import pytest
from django.conf import settings
from django.core import serializers
from django.core.exceptions import FieldError, ValidationError
from django.core.management import call_command
from django.db import connection, transaction
from django.test import override_settings

from django_relay import exceptions, fields
from django_relay.models import Endpoint, SigningSecret
from tests.factories import make_endpoint

pytestmark = pytest.mark.django_db

SECRET = "whsec_" + base64.b64encode(b"canary" * 5).decode()
FIRST, SECOND = base64.b64encode(b"1" * 32).decode(), base64.b64encode(b"2" * 32).decode()


def encryption_keys(**keys):
    return override_settings(DJANGO_RELAY={**settings.DJANGO_RELAY, "ENCRYPTION_KEYS": keys})


def column(table="signingsecret", name="key"):
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {name} FROM django_relay_{table}")
        ((value,),) = cursor.fetchall()
    return value


def overwrite(value, table="signingsecret", name="key", pk=None):
    model = SigningSecret if table == "signingsecret" else Endpoint
    rows = model.objects.filter(pk=pk) if pk else model.objects.all()
    rows.update(**{name: fields.Ciphertext(value)})


def stored_secret(**values):
    make_endpoint(secret=SECRET, **values)
    return SigningSecret.objects.get()


class TestAtRest:
    def test_the_column_names_the_key_and_holds_ciphertext(self):
        stored_secret()
        value = column()
        assert re.fullmatch(r"r1\.example\.[A-Za-z0-9+/]+=*", value)
        raw = base64.b64decode(value.split(".")[2])
        assert len(raw) == 12 + len(json.dumps(SECRET)) + 16
        assert b"canary" not in raw
        assert SECRET.removeprefix("whsec_") not in value

    def test_reads_as_it_was_written(self):
        assert stored_secret().key == SECRET
        endpoint = make_endpoint(headers={"X-Key": "canary"})
        assert Endpoint.objects.get(pk=endpoint.pk).headers == {"X-Key": "canary"}

    def test_the_same_value_is_never_the_same_ciphertext(self):
        values = set()
        for _ in range(5):
            secret = stored_secret()
            values.add(column())
            secret.endpoint.delete()
        assert len(values) == 5

    def test_saving_a_row_again_does_not_need_its_secret(self):
        secret = stored_secret()
        before = column()
        with encryption_keys(other=SECOND):
            secret.save()
        assert column() == before

    def test_none_stays_null(self):
        field = Endpoint._meta.get_field("headers")
        assert field.get_prep_value(None) is None
        assert field.from_db_value(None, None, None) is None


class TestTampering:
    def unreadable(self, match="does not open"):
        with pytest.raises(exceptions.DecryptionError, match=match) as caught:
            _key = SigningSecret.objects.first().key
        assert caught.value.code == "decryption_failed"
        assert "canary" not in str(caught.value)

    def test_moved_to_another_row(self):
        stolen = stored_secret()
        value = column()
        stolen.delete()
        make_endpoint()
        overwrite(value)
        self.unreadable()

    def test_moved_to_another_field(self):
        make_endpoint(headers={"X-Key": "canary"})
        value = column("endpoint", "headers")
        overwrite(value)
        self.unreadable()

    def test_moved_to_another_field_of_a_row_with_the_same_id(self):
        """The associated data name the field, and not the id alone."""
        endpoint = make_endpoint(headers={"X-Key": "canary"})
        sealed = fields.Ciphertext(column("endpoint", "headers"))
        other = SigningSecret._meta.get_field("key")
        with pytest.raises(exceptions.DecryptionError):
            other.open(sealed, endpoint)

    def test_moved_to_the_same_field_and_id_of_another_model(self):
        endpoint = make_endpoint(headers={"X-Key": "canary"})
        field = Endpoint._meta.get_field("headers")
        sealed = fields.Ciphertext(column("endpoint", "headers"))
        assert field.open(sealed, endpoint) == {"X-Key": "canary"}
        with pytest.raises(exceptions.DecryptionError):
            field.open(sealed, SigningSecret(pk=endpoint.pk))

    @pytest.mark.parametrize(
        "alter",
        [
            lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]),
            lambda raw: bytes([raw[0] ^ 1]) + raw[1:],
            lambda raw: raw[:20] + bytes([raw[20] ^ 128]) + raw[21:],
            lambda raw: raw[:-1],
            lambda raw: raw + b"\0",
            lambda raw: raw[:12],
            lambda raw: b"",
        ],
        ids=["tag", "nonce", "text", "cut", "longer", "nonce alone", "empty"],
    )
    def test_altered(self, alter):
        stored_secret()
        version, key_id, encoded = column().split(".")
        overwrite(".".join([version, key_id, base64.b64encode(alter(base64.b64decode(encoded))).decode()]))
        self.unreadable()

    @pytest.mark.parametrize(
        "value", ["r1.example.not base64!", "r1.example.", "r1.example", "r1", "", SECRET, "r2.example.AAAA"]
    )
    def test_what_is_no_ciphertext_is_never_returned_as_a_secret(self, value):
        stored_secret()
        overwrite(value)
        self.unreadable(match="does not open|does not have")

    def test_the_key_id_cannot_be_exchanged(self):
        with encryption_keys(a=FIRST, b=SECOND):
            stored_secret()
            overwrite(column().replace("r1.a.", "r1.b."))
            self.unreadable()


class TestKeys:
    def test_the_first_encrypts_and_all_decrypt(self):
        with encryption_keys(a=FIRST):
            stored_secret()
            assert column().startswith("r1.a.")
        with encryption_keys(b=SECOND, a=FIRST):
            secret = SigningSecret.objects.get()
            assert secret.key == SECRET
            secret.key = SECRET
            secret.save()
            assert column().startswith("r1.b.")
        with encryption_keys(b=SECOND):
            assert SigningSecret.objects.get().key == SECRET

    def test_a_key_that_is_not_configured_is_named(self):
        with encryption_keys(a=FIRST):
            stored_secret()
        with (
            encryption_keys(b=SECOND),
            pytest.raises(exceptions.DecryptionError, match="key 'a', which ENCRYPTION_KEYS"),
        ):
            _key = SigningSecret.objects.get().key

    def test_another_key_under_the_same_id_is_an_error(self):
        with encryption_keys(a=FIRST):
            stored_secret()
        with encryption_keys(a=SECOND), pytest.raises(exceptions.DecryptionError, match="key 'a' does not open"):
            _key = SigningSecret.objects.get().key

    @pytest.mark.parametrize(
        "keys",
        [
            {"a": base64.b64encode(b"1" * 31).decode()},
            {"a": base64.b64encode(b"1" * 33).decode()},
            {"a": "not base64"},
            {"a": ""},
            {"a": None},
            {"a.b": FIRST},
            {"": FIRST},
            {"a" * 33: FIRST},
            {2026: FIRST},
            {"good": FIRST, "bad": "x"},
        ],
        ids=lambda keys: ascii(list(keys))[:20],
    )
    def test_malformed_keys_are_a_configuration_error_that_shows_no_key(self, keys):
        with (
            override_settings(DJANGO_RELAY={"ENCRYPTION_KEYS": keys}),
            pytest.raises(exceptions.RelayConfigurationError, match="ENCRYPTION_KEYS") as caught,
        ):
            fields.keys()
        assert not any(isinstance(key, str) and key and key in str(caught.value) for key in keys.values() if key != "x")

    def test_an_empty_key_is_said_to_be_empty(self):
        with encryption_keys(a=""), pytest.raises(exceptions.RelayConfigurationError, match="'a'] is empty"):
            fields.keys()

    def test_without_keys_nothing_is_encrypted_in_production(self):
        with encryption_keys(), pytest.raises(exceptions.RelayConfigurationError):
            make_endpoint()
        assert Endpoint.objects.count() == 0

    def test_without_keys_debug_derives_one_from_the_secret_key(self):
        with encryption_keys(), override_settings(DEBUG=True):
            assert stored_secret().key == SECRET
            assert column().startswith("r1.debug.")
            with override_settings(SECRET_KEY="another"), pytest.raises(exceptions.DecryptionError):
                _key = SigningSecret.objects.get().key


class TestRefusals:
    def test_update_refuses_a_plain_value(self):
        stored_secret()
        before = column()
        with pytest.raises(FieldError, match="set the attribute and save"), transaction.atomic():
            SigningSecret.objects.update(key=SECRET)
        assert column() == before

    def test_bulk_update_refuses_a_plain_value(self):
        secret = stored_secret()
        before = column()
        with pytest.raises(FieldError), transaction.atomic():
            SigningSecret.objects.bulk_update([secret], ["key"])
        assert column() == before

    @pytest.mark.parametrize("lookup", ["key", "key__exact", "key__in", "key__contains", "key__startswith"])
    def test_filtering_by_value_is_refused(self, lookup):
        with pytest.raises(FieldError):
            SigningSecret.objects.filter(**{lookup: [SECRET] if lookup == "key__in" else SECRET}).first()

    def test_isnull_is_allowed(self):
        stored_secret()
        assert SigningSecret.objects.filter(key__isnull=False).count() == 1

    def test_values_give_ciphertext(self):
        stored_secret()
        (value,) = SigningSecret.objects.values_list("key", flat=True)
        assert isinstance(value, fields.Ciphertext)
        assert value.startswith("r1.")

    def test_a_value_is_never_sealed_without_an_id_to_bind_it_to(self):
        field = SigningSecret._meta.get_field("key")
        with pytest.raises(FieldError, match="must be set first"):
            field.seal(SECRET, SigningSecret(pk=None))

    def test_a_value_that_is_no_json_is_left_to_validation(self):
        endpoint = make_endpoint()
        endpoint.headers = {"X-Key": b"bytes"}
        with pytest.raises(ValidationError) as caught:
            endpoint.full_clean()
        assert [error.code for error in caught.value.error_dict["headers"]] == ["wrong_type"]


class TestNothingShowsASecret:
    def rows(self):
        """Every way in which a program comes by the two models with secrets."""
        endpoint = make_endpoint(secret=SECRET, headers={"X-Key": "canary"})
        endpoint_read = Endpoint.objects.get(pk=endpoint.pk)
        refreshed = Endpoint.objects.get(pk=endpoint.pk)
        refreshed.refresh_from_db()
        deferred = Endpoint.objects.defer("headers").get(pk=endpoint.pk)
        assert deferred.headers == {"X-Key": "canary"}
        enabled = Endpoint.objects.get(pk=endpoint.pk)
        enabled.disable()
        enabled.enable()
        secret = SigningSecret.objects.get()
        assert secret.key == SECRET
        secret_refreshed = SigningSecret.objects.get()
        secret_refreshed.refresh_from_db()
        prefetched = Endpoint.objects.prefetch_related("signing_secrets").get(pk=endpoint.pk)
        assert prefetched.secrets == [SECRET]
        changed = Endpoint.objects.get(pk=endpoint.pk)
        changed.headers = {"X-Key": "canary"}
        return [endpoint, endpoint_read, refreshed, deferred, enabled, secret, secret_refreshed, prefetched, changed]

    def test_not_repr_nor_str_nor_the_instance_dict(self):
        for row in self.rows():
            for text in (repr(row), str(row), repr(row.__dict__)):
                assert "canary" not in text
                assert SECRET not in text

    def test_not_pickle_nor_copy(self):
        for row in self.rows():
            for data in (pickle.dumps(row), pickle.dumps(copy.deepcopy(row)), pickle.dumps(copy.copy(row))):
                assert b"canary" not in data
                assert SECRET.encode() not in data

    def test_a_pickled_row_still_opens(self):
        secret = pickle.loads(pickle.dumps(stored_secret()))
        assert secret.key == SECRET

    @pytest.mark.parametrize("serializer", ["json", "xml", "python"])
    def test_not_serialisation(self, serializer):
        text = str(serializers.serialize(serializer, self.rows()))
        assert "canary" not in text
        assert SECRET not in text
        assert "r1.example." in text

    def test_not_dumpdata(self, tmp_path):
        self.rows()
        call_command("dumpdata", "django_relay", output=str(tmp_path / "dump.json"))
        text = (tmp_path / "dump.json").read_text()
        assert "canary" not in text
        assert SECRET not in text

    def test_what_dumpdata_wrote_is_never_loaded_as_if_it_were_the_secret(self):
        """A fixture bypasses the model; better no secret than the ciphertext for one."""
        endpoint = make_endpoint(secret=SECRET)
        dump = serializers.serialize("json", [SigningSecret.objects.get()])
        SigningSecret.objects.all().delete()
        with pytest.raises(FieldError), transaction.atomic():
            next(serializers.deserialize("json", dump)).save()
        assert endpoint.secrets == []

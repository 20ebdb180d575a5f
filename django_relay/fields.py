"""Two model fields: ids that read as ``evt_01m8…``, and values that are encrypted at rest.

:class:`PrefixedIdField` stores a native UUID and shows a TypeID string. :class:`EncryptedField` stores AES-256-GCM
ciphertext bound to its row (NIST SP 800-38D; the associated data names model, field and id), so that a ciphertext
copied to another row does not open.
"""

import base64
import binascii
import contextlib
import hashlib
import json
import os
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings as django_settings
from django.core.exceptions import FieldError, ValidationError
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.translation import gettext_lazy as _

from django_relay import conf, exceptions, ids

_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")
_DERIVED_KEY_ID = "debug"


class PrefixedIdField(models.UUIDField):  # type: ignore[type-arg]
    """A UUIDv7 in a native UUID column, shown everywhere as ``<prefix><26 characters>``.

    In Python the value is the string. A string that is no such id is a ``ValidationError``, so that the id of another
    kind of row matches nothing by mistake.
    """

    if TYPE_CHECKING:  # what django-stubs reads: the attribute is text
        _pyi_private_set_type: str
        _pyi_private_get_type: str  # type: ignore[assignment]
        _pyi_lookup_exact_type: str

    default_error_messages = {"invalid": _("“%(value)s” is not a valid id (%(prefix)s…).")}

    def __init__(self, prefix: str = "", **kwargs: Any) -> None:
        self.prefix = prefix
        if kwargs.get("primary_key"):
            kwargs.setdefault("default", self.new)
            kwargs.setdefault("editable", False)
        super().__init__(**kwargs)

    @classmethod
    def of(cls, model: type[models.Model]) -> "PrefixedIdField":
        """Return the id field of a model of ours."""
        key = model._meta.pk
        assert isinstance(key, cls)  # noqa: S101 - as every table of ours has it
        return key

    def new(self) -> str:
        """Return a fresh id."""
        return ids.new(self.prefix)

    def deconstruct(self) -> tuple[str, str, Sequence[Any], dict[str, Any]]:
        """Return what a migration needs to make the field again."""
        name, path, args, kwargs = super().deconstruct()
        kwargs["prefix"] = self.prefix
        if kwargs.get("default") == self.new:
            del kwargs["default"]
        return name, path, args, kwargs

    def to_python(self, value: Any) -> str | None:
        """Return the id string of a string or UUID.

        Raises:
            ValidationError: it is neither.
        """
        if value is None:
            return None
        if isinstance(value, uuid.UUID):
            return ids.from_uuid(value, prefix=self.prefix)
        try:
            ids.to_uuid(value, prefix=self.prefix)
        except (AttributeError, TypeError, ValueError) as error:
            raise ValidationError(
                self.error_messages["invalid"],
                code="invalid",
                params={"value": value, "prefix": self.prefix},
            ) from error
        return str(value)

    def get_prep_value(self, value: Any) -> uuid.UUID | None:
        """Return the UUID of an id string."""
        value = models.Field.get_prep_value(self, value)
        if value is None or isinstance(value, uuid.UUID):
            return value
        text = self.to_python(value)
        return None if text is None else ids.to_uuid(text, prefix=self.prefix)

    def get_db_prep_value(self, value: Any, connection: BaseDatabaseWrapper, prepared: bool = False) -> Any:
        """Return the UUID as the database takes it."""
        if not prepared:
            value = self.get_prep_value(value)
        if value is None or connection.features.has_native_uuid_field:
            return value
        return value.hex

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> str | None:
        """Return the id string of what the database gave."""
        if value is None:
            return None
        return ids.from_uuid(value if isinstance(value, uuid.UUID) else uuid.UUID(value), prefix=self.prefix)

    def formfield(self, **kwargs: Any) -> Any:
        """Return a plain text field: a form shows and takes the id string."""
        return models.Field.formfield(self, **kwargs)


class Ciphertext(str):
    """What stands in the column: ``r1.<key id>.<base64 of nonce and ciphertext>``."""

    __slots__ = ()


class _Decrypted:
    """Reads an encrypted attribute: decrypts on demand and keeps nothing.

    A value given to a stored row is sealed at once (Django's ``refresh_from_db`` gives one as well); a new row's is
    sealed when it is saved, for only then its id is final.
    """

    def __init__(self, field: "EncryptedField") -> None:
        self.field = field

    def __get__(self, instance: models.Model | None, owner: Any = None) -> Any:
        if instance is None:
            return self
        if self.field.attname not in instance.__dict__:
            instance.refresh_from_db(fields=[self.field.attname])
        value = instance.__dict__[self.field.attname]
        return self.field.open(value, instance) if isinstance(value, Ciphertext) else value

    def __set__(self, instance: models.Model, value: Any) -> None:
        if value is not None and not isinstance(value, Ciphertext) and not instance._state.adding:
            with contextlib.suppress(TypeError, ValueError):  # no JSON: for the model's validation to refuse
                value = self.field.seal(value, instance)
        instance.__dict__[self.field.attname] = value


class EncryptedField(models.TextField):  # type: ignore[type-arg]
    """A JSON value that is encrypted at rest with AES-256-GCM.

    The column holds ``r1.<key id>.<base64>``; the key id names the key of ``ENCRYPTION_KEYS`` that opens it, and the
    associated data is ``<app>.<Model>.<field>:<id>``, so the row's id must be known before it is saved. Reading the
    attribute decrypts; ``values()`` gives :class:`Ciphertext`. The field cannot be filtered, nor written by
    ``update()``.

    Raises (on reading or writing the attribute):
        DecryptionError: no configured key opens the value.
        RelayConfigurationError: ``ENCRYPTION_KEYS`` is missing or malformed.
    """

    if TYPE_CHECKING:  # what django-stubs reads: any JSON value
        _pyi_private_set_type: Any
        _pyi_private_get_type: Any

    def contribute_to_class(self, cls: type[models.Model], name: str, private_only: bool = False) -> None:
        """Put the decrypting attribute onto the model."""
        super().contribute_to_class(cls, name, private_only)
        setattr(cls, self.attname, _Decrypted(self))

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Ciphertext | None:
        """Return the ciphertext, unopened."""
        return None if value is None else Ciphertext(value)

    def to_python(self, value: Any) -> Any:
        """Return the value as it is: any JSON value, or ciphertext."""
        return value

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        """Return the ciphertext to store, made for this row."""
        value = model_instance.__dict__.get(self.attname)
        if value is not None and not isinstance(value, Ciphertext):
            value = model_instance.__dict__[self.attname] = self.seal(value, model_instance)
        return value

    def get_prep_value(self, value: Any) -> str | None:
        """Return the ciphertext, and refuse anything else: a plain value here has no row to be bound to."""
        if value is None:
            return None
        if not isinstance(value, Ciphertext):
            raise FieldError(f"{self} is encrypted for its row: set the attribute and save the row.")
        return str(value)

    def get_lookup(self, lookup_name: str) -> Any:
        """Allow ``isnull`` alone."""
        if lookup_name != "isnull":
            raise FieldError(f"{self} is encrypted and cannot be filtered by its value.")
        return super().get_lookup(lookup_name)

    def value_to_string(self, obj: models.Model) -> str:
        """Return the ciphertext, so that ``dumpdata`` never writes a secret."""
        self.pre_save(obj, add=False)
        return str(obj.__dict__[self.attname])

    def seal(self, value: Any, instance: models.Model) -> Ciphertext:
        """Return ``value`` encrypted, for this instance's row alone, with the first key."""
        key_id, key = next(iter(keys().items()))
        nonce = os.urandom(12)
        text = json.dumps(value, separators=(",", ":")).encode()
        sealed = AESGCM(key).encrypt(nonce, text, self._associated_data(instance))
        return Ciphertext(f"r1.{key_id}.{base64.b64encode(nonce + sealed).decode()}")

    def open(self, value: Ciphertext, instance: models.Model) -> Any:
        """Return the value behind ``value``.

        Raises:
            DecryptionError: it was made for another row, with another key, or was altered.
        """
        version, _dot, rest = value.partition(".")
        key_id, _dot, encoded = rest.partition(".")
        key = keys().get(key_id)
        if version != "r1" or key is None:
            raise exceptions.DecryptionError(
                f"{self}: the value was encrypted with key {key_id[:32]!r}, which ENCRYPTION_KEYS does not have."
            )
        try:
            sealed = base64.b64decode(encoded, validate=True)
            text = AESGCM(key).decrypt(sealed[:12], sealed[12:], self._associated_data(instance))
        except (InvalidTag, ValueError) as error:
            raise exceptions.DecryptionError(
                f"{self}: key {key_id!r} does not open the value, or it belongs to another row. "
                "Is it the key that encrypted it?"
            ) from error
        return json.loads(text)

    def _associated_data(self, instance: models.Model) -> bytes:
        if instance.pk is None:
            raise FieldError(f"{self} is bound to its row's id, which must be set first.")
        return f"{instance._meta.label}.{self.name}:{instance.pk}".encode()


def keys() -> dict[str, bytes]:
    """Return the encryption keys by id, the encrypting one first.

    Raises:
        RelayConfigurationError: there is none and ``DEBUG`` is off, or one is malformed.
    """
    configured: Mapping[str, str] = conf.settings.ENCRYPTION_KEYS
    if not configured:
        if not django_settings.DEBUG:
            raise exceptions.RelayConfigurationError(
                "DJANGO_RELAY['ENCRYPTION_KEYS'] is empty. Set it to {'<key id>': '<base64 of 32 random bytes>'}."
            )
        secret = str(django_settings.SECRET_KEY).encode()
        return {_DERIVED_KEY_ID: hashlib.sha256(b"django_relay.fields:" + secret).digest()}
    if not isinstance(configured, Mapping):
        raise exceptions.RelayConfigurationError("DJANGO_RELAY['ENCRYPTION_KEYS'] must be a dict.")
    return {key_id: _decode_key(key_id, text) for key_id, text in configured.items()}


def _decode_key(key_id: object, text: str) -> bytes:
    if text == "":
        raise exceptions.RelayConfigurationError(
            f"DJANGO_RELAY['ENCRYPTION_KEYS'][{key_id!r}] is empty: is the environment that it comes from set?"
        )
    try:
        key = base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error):
        key = b""
    if not isinstance(key_id, str) or not _KEY_ID.fullmatch(key_id) or len(key) != 32:
        raise exceptions.RelayConfigurationError(
            f"DJANGO_RELAY['ENCRYPTION_KEYS'][{key_id!r}]: the id must be text of 1 to 32 of A-Z a-z 0-9 _ -, "
            "and the value the base64 of exactly 32 bytes."
        )
    return key

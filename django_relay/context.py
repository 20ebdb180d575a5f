"""What the running code says of the events it causes, kept in context variables.

Each ``with`` counts for the code under it: in the same thread, in the same ``asyncio`` task and what that awaits, and
in what ``sync_to_async`` and ``async_to_sync`` run. A thread or process started by hand begins without any of it. Each
also works as a decorator of a plain function::

    with suppressed():                # an import: the sources make no events
        Invoice.objects.bulk_create(rows)
    with tenant("acme"), attributes(actor="u1"):
        invoice.save()                # whose event it is, and what filters can look at
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

from django_relay import exceptions
from django_relay.rules import texts

_NO_ATTRIBUTES: Mapping[str, Any] = MappingProxyType({})
_MAX_LENGTH = 255

_suppressed: ContextVar[bool] = ContextVar("django_relay.suppressed", default=False)
_tenant: ContextVar[str | None] = ContextVar("django_relay.tenant", default=None)
_attributes: ContextVar[Mapping[str, Any]] = ContextVar("django_relay.attributes", default=_NO_ATTRIBUTES)
_origin: ContextVar[str] = ContextVar("django_relay.origin", default="")


@contextmanager
def suppressed() -> Iterator[None]:
    """Keep the sources silent: no change of a model and no job makes an event. ``emit`` still does what it is told."""
    with _set(_suppressed, True):
        yield


@contextmanager
def tenant(tenant_id: str) -> Iterator[None]:
    """Say whose the events are that sources make; ``""`` is the global tenant. It goes before what they would find.

    Raises:
        InvalidEvent: ``tenant_id`` is not text of at most 255 characters.
    """
    with _set(_tenant, _short_text("tenant_id", tenant_id)):
        yield


@contextmanager
def attributes(**values: Any) -> Iterator[None]:
    """Add attributes to the events that sources make; an inner block adds to an outer one and goes before it."""
    with _set(_attributes, MappingProxyType({**_attributes.get(), **values})):
        yield


@contextmanager
def caused_by(origin: str) -> Iterator[None]:
    """Mark every event, of sources and of ``emit``, with the event or job that causes it (``Event.origin``).

    Wrap it around what handles a received event, ``with caused_by(event_id):``, and a loop can be seen and broken.

    Raises:
        InvalidEvent: ``origin`` is not text of at most 255 characters.
    """
    with _set(_origin, _short_text("origin", origin)):
        yield


def is_suppressed() -> bool:
    """Return whether :func:`suppressed` is in force here."""
    return _suppressed.get()


def current_tenant() -> str | None:
    """Return what :func:`tenant` says here, ``None`` if nothing."""
    return _tenant.get()


def current_attributes() -> Mapping[str, Any]:
    """Return what :func:`attributes` says here."""
    return _attributes.get()


def current_origin() -> str:
    """Return what :func:`caused_by` says here, ``""`` if nothing."""
    return _origin.get()


@contextmanager
def _set(variable: ContextVar[Any], value: object) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def _short_text(name: str, value: object) -> str:
    if isinstance(value, str) and len(value) <= _MAX_LENGTH and texts.is_storable(value):
        return value
    message = f"{name} must be text of at most {_MAX_LENGTH} characters, without NUL."
    raise exceptions.InvalidEvent(message, code=f"bad_{name}")

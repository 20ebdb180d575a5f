"""What every view does: find out who calls, whether it may, whose rows are meant, and what was given.

A view's method is an :func:`operation`: it says the scope it needs, what it takes and what it answers. That is what is
enforced here, and what ``schema`` describes. A method that is no operation answers nobody.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, TypeVar

from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import models, router, transaction
from django.http import Http404
from rest_framework import exceptions as drf
from rest_framework import serializers
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from django_relay import exceptions
from django_relay.api import authentication, fields, parsers, problems, throttles
from django_relay.models import Application, Endpoint, audit
from django_relay.models.lists import Owner
from django_relay.rules.access import Caller

try:
    from drf_spectacular.openapi import AutoSchema as _Described  # noqa: F401 - says whether it is installed
except ImportError:
    SCHEMA = None
else:
    from django_relay.api.schema import RelaySchema

    SCHEMA = RelaySchema()

Method = Callable[..., Response]
M = TypeVar("M", bound=models.Model)
Answer = type[serializers.Serializer[Any]] | None


@dataclass(frozen=True)
class Operation:
    """What one method of a view is, to those who call it."""

    scope: str
    summary: str
    answers: Mapping[int, Answer]
    body: type[fields.Given] = fields.Nothing
    query: type[fields.Query] = fields.Owned
    operator_only: bool = False
    partial: bool = False
    may: tuple[int, ...] = ()
    """Further statuses of problems, besides those of every operation."""
    example: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    """Request headers that it understands, each with what it is."""


def operation(scope: str, summary: str, **about: Any) -> Callable[[Method], Method]:
    """Declare a view's method; takes the fields of :class:`Operation`."""

    def declare(method: Method) -> Method:
        method.operation = Operation(scope, summary, **about)  # type: ignore[attr-defined]
        return method

    return declare


class Resource(ViewSet):
    """The base of every view."""

    schema = SCHEMA
    renderer_classes = [parsers.Renderer]
    parser_classes = [parsers.StrictJSONParser]
    content_negotiation_class = parsers.Negotiation
    permission_classes = ()
    throttle_classes = ()
    versioning_class = None
    metadata_class = None
    tag = ""
    """The heading in the description."""
    largest_events = 1
    """How many events of the largest size a body may hold."""
    pointers: ClassVar[Mapping[type[Exception], str]] = {}
    """Where in a body errors stand that name no field themselves, if not where they usually do."""

    caller: Caller

    # What Django REST framework asks

    def get_authenticators(self) -> list[BaseAuthentication]:
        """Return ours and the project's."""
        return authentication.authenticators()

    def get_exception_handler(self) -> Callable[[Exception, Any], Response | None]:
        """Return ours, whatever the project's other views use."""
        return problems.handle

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Let only those go on who may."""
        self.perform_authentication(request)
        self.caller = authentication.caller_of(request)
        throttles.check(self.caller)
        if getattr(self, "action", None) is None or not hasattr(self, self.action):
            raise drf.MethodNotAllowed(str(request.method)[:20])
        if self.operation.operator_only and not self.caller.is_operator:
            raise exceptions.NotAllowed("This is for operators.", code="operator_only")
        scope = self.operation.scope
        if not self.caller.may(scope):
            raise exceptions.NotAllowed(f"This needs the scope {scope}.", code="scope_missing", scope=scope)
        self.query  # noqa: B018 - refuses what cannot be used, before anything is done
        self.body  # noqa: B018 - likewise

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Keep answers out of caches and out of sniffing."""
        response = super().finalize_response(request, response, *args, **kwargs)
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    # What was given

    @property
    def operation(self) -> Operation:
        """The operation that is called."""
        found = getattr(getattr(self, self.action), "operation", None)
        if not isinstance(found, Operation):
            raise ImproperlyConfigured(f"{type(self).__name__}.{self.action} says nothing of who may call it.")
        return found

    @cached_property
    def query(self) -> dict[str, Any]:
        """The query's parameters, checked."""
        given = self.operation.query(data=self.request.query_params)
        if not given.is_valid():
            raise problems.BadFields(given.errors, place="query")
        found: dict[str, Any] = given.validated_data
        if not self.caller.is_operator and (named := {"application", "tenant_id"} & found.keys()):
            told = serializers.ErrorDetail("Your credential says whose rows are meant.", code="unknown_field")
            raise problems.BadFields({name: [told] for name in named}, place="query")
        return found

    @cached_property
    def body(self) -> dict[str, Any]:
        """The body, checked."""
        if self.request.method in {"GET", "HEAD"}:
            return {}
        given = self.operation.body(data=self.request.data, partial=self.operation.partial)
        if not given.is_valid():
            raise problems.BadFields(given.errors)
        found = dict(given.validated_data)
        if not self.caller.is_operator and (named := {"application", "tenant_id"} & found.keys()):
            told = serializers.ErrorDetail("Your credential says whose it is.", code="unknown_field")
            raise problems.BadFields({name: [told] for name in named})
        return found

    @property
    def context(self) -> dict[str, Any]:
        """What serializers want to know of the request: the ``caller``."""
        return {"caller": self.caller}

    # Whose rows

    @cached_property
    def using(self) -> str:
        """The database: the one that is written to, so that everybody sees what they have just changed."""
        return router.db_for_write(Endpoint)

    @cached_property
    def application(self) -> Application:
        """The caller's application; of an operator the one it names, ``default`` if none.

        Raises:
            UnknownApplication: there is none of that slug.
        """
        slug = self.caller.application
        if slug is None:
            slug = self.query.get("application") or self.body.get("application") or "default"
        return Application.objects.using(self.using).named(slug)

    @property
    def owner(self) -> Owner:
        """Whose rows the caller sees; an operator that names no tenant sees everybody's."""
        tenant_id = self.query.get("tenant_id") if self.caller.is_operator else self.caller.tenant_id
        return Owner(self.application.pk, tenant_id)

    @property
    def tenant_id(self) -> str:
        """For whom something is made: the caller's tenant, or the one that an operator names.

        Raises:
            BadFields: an operator named none.
        """
        if self.caller.tenant_id is not None:
            return self.caller.tenant_id
        named = self.body.get("tenant_id", self.query.get("tenant_id"))
        if named is None:
            told = serializers.ErrorDetail("Operators say whose it is.", code="required")
            raise problems.BadFields({"tenant_id": [told]})
        return str(named)

    def owned(self, rows: "models.QuerySet[M]", *, through: str = "") -> "models.QuerySet[M]":
        """Narrow rows down to the owner's; ``through`` is the path to what has the owner's columns."""
        rows = rows.using(self.using).filter(**{f"{through}application_id": self.owner.application_id})
        if self.owner.tenant_id is not None:
            rows = rows.filter(**{f"{through}tenant_id": self.owner.tenant_id})
        return rows

    def only(self, rows: "models.QuerySet[M]") -> M:
        """Return the one row.

        Raises:
            Http404: there is none.
        """
        found = rows.first()
        if found is None:
            raise Http404
        return found

    def find(self, rows: "models.QuerySet[M]", key: str) -> M:
        """Return the row with an id.

        Raises:
            Http404: there is none, or ``key`` is no id; both look the same.
        """
        try:
            return self.only(rows.filter(pk=key))
        except ValidationError as error:
            raise Http404 from error

    # Changing

    @contextmanager
    def changing(self, action: str = "", row: models.Model | None = None, **told: Any) -> Iterator[None]:
        """Run a change and its record in one transaction."""
        with transaction.atomic(self.using):
            yield
            if row is not None:
                self.record(action, row, **told)

    def record(self, action: str, row: models.Model, **told: Any) -> None:
        """Store in the audit what the caller did; see :func:`django_relay.models.audit.record`."""
        audit.record(action, row, caller=self.caller, using=self.using, **told)

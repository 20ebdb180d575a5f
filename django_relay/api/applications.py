"""Applications: product surfaces of the host."""

from rest_framework.request import Request
from rest_framework.response import Response

from django_relay.api import fields, pages
from django_relay.api.resources import Resource, operation
from django_relay.models import Application, paging


class ApplicationShown(fields.Shown):
    """An application."""

    id = fields.Id("app_")
    slug = fields.Text()
    name = fields.Text()
    metadata = fields.Mapped()
    created_at = fields.Moment()
    updated_at = fields.Moment()


class ApplicationGiven(fields.Given):
    """A new application."""

    slug = fields.Text(max_length=64)
    name = fields.Text(max_length=200, required=False)
    metadata = fields.Mapped(required=False)


class ApplicationChanged(fields.Given):
    """What is to change of an application."""

    name = fields.Text(max_length=200, required=False)
    metadata = fields.Mapped(required=False)


class ApplicationPageQuery(fields.Query):
    """Which page."""

    limit = pages.limit()
    cursor = pages.cursor()


class Applications(Resource):
    """Product surfaces: each has its own event types, endpoints and events. There is always ``default``."""

    tag = "Applications"

    @operation(
        "read", "List applications", query=ApplicationPageQuery, answers={200: pages.of(ApplicationShown)},
        operator_only=True,
    )  # fmt: skip
    def list(self, request: Request) -> Response:
        """Return a page of applications."""
        rows = Application.objects.using(self.using).all()
        page = paging.by_column(rows, "id", of={"list": "application"}, wanted=pages.wanted(self.query))
        return Response(pages.shown(page, ApplicationShown))

    @operation(
        "write", "Add an application", query=fields.Query, body=ApplicationGiven, answers={201: ApplicationShown},
        operator_only=True, may=(409,), example={"slug": "billing", "name": "Billing"},
    )  # fmt: skip
    def create(self, request: Request) -> Response:
        """Store an application."""
        with self.changing():
            row = Application.objects.using(self.using).register(**self.body)
            self.record("application.created", row, after=row.told(), application=row.slug)
        return Response(ApplicationShown(row).data, status=201)

    @operation(
        "read", "Show an application", query=fields.Query, answers={200: ApplicationShown}, operator_only=True,
        may=(404,),
    )  # fmt: skip
    def retrieve(self, request: Request, slug: str) -> Response:
        """Return one application."""
        return Response(ApplicationShown(self._named(slug)).data)

    @operation(
        "write", "Change an application", query=fields.Query, body=ApplicationChanged, partial=True,
        answers={200: ApplicationShown}, operator_only=True, may=(404,), example={"name": "Billing and invoices"},
    )  # fmt: skip
    def partial_update(self, request: Request, slug: str) -> Response:
        """Change name or metadata."""
        with self.changing():
            row = self._named(slug)
            before = row.told()
            for name, value in self.body.items():
                setattr(row, name, value)
            row.full_clean({"metadata"}, validate_unique=False, validate_constraints=False)
            row.save(using=self.using, update_fields=[*self.body, "updated_at"])
            self.record("application.updated", row, before=before, after=row.told(), application=row.slug)
        return Response(ApplicationShown(row).data)

    def _named(self, slug: str) -> Application:
        return self.only(Application.objects.using(self.using).filter(slug=slug))

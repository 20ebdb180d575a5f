"""Lists of the admin that cost the same however many rows there are: keyset pages, no counts, fixed order.

Django's own change list counts its rows, skips to a page by reading all before it, and sorts by any column. Ours reads
one page from an index, the newest first (:func:`django_relay.models.paging.looked_at`). A filter that no index serves
chooses among a window of a few pages; then a page may be sparse, and still leads on to older ones.
"""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db import models, router
from django.http import HttpRequest
from django.urls import URLPattern
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_relay import exceptions, ids
from django_relay.admin import busy, cells
from django_relay.fields import PrefixedIdField
from django_relay.models import paging, searching

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
    PlainChangeList = ChangeList
    PlainFilter = admin.SimpleListFilter
else:
    _ModelAdmin, PlainChangeList, PlainFilter = admin.ModelAdmin, ChangeList, admin.SimpleListFilter

PER_PAGE = paging.DEFAULT_LIMIT
AFTER = "after"
"""The parameter that names where a page begins."""
_SPANS = {
    "1h": (timedelta(hours=1), _("Last hour")),
    "24h": (timedelta(hours=24), _("Last 24 hours")),
    "7d": (timedelta(days=7), _("Last 7 days")),
    "30d": (timedelta(days=30), _("Last 30 days")),
}


class Found(NamedTuple):
    """Where the rows of a list stand."""

    arms: searching.Arms
    served: Collection[str] = ()
    """The parameters of those filters that the arms serve by an index; others choose from the window."""


class TimeFilter(PlainFilter):
    """How far back the list goes; by the times in the ids, so that it costs nothing (unlike a date hierarchy)."""

    title = _("time")
    parameter_name = "span"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return the spans there are."""
        return [(name, said) for name, (_back, said) in _SPANS.items()]

    def queryset(self, request: HttpRequest, queryset: "models.QuerySet[Any]") -> "models.QuerySet[Any]":
        """Leave it to the page's bounds."""
        return queryset

    def since(self) -> datetime | None:
        """Return where the list ends."""
        found = _SPANS.get(self.value() or "")
        return timezone.now() - found[0] if found else None


class ChoiceFilter(PlainFilter):
    """One of some values of a column; chooses from the window unless the list's arms say the same."""

    field: str
    choices_of: Sequence[tuple[Any, Any]]

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return the values there are."""
        return [(str(value), said) for value, said in self.choices_of]

    def queryset(self, request: HttpRequest, queryset: "models.QuerySet[Any]") -> "models.QuerySet[Any]":
        """Narrow down to the value."""
        known = {str(value) for value, _said in self.choices_of}
        if self.value() is None:
            return queryset
        if self.value() not in known:
            raise IncorrectLookupParameters
        return self.narrow(queryset, str(self.value()))

    def narrow(self, queryset: "models.QuerySet[Any]", value: str) -> "models.QuerySet[Any]":
        """Narrow rows down to a value that there is."""
        return queryset.filter(**{self.field: value})


def choice_filter(
    parameter: str,
    title: Any,
    choices: Sequence[tuple[Any, Any]],
    narrow: "Callable[[models.QuerySet[Any], str], models.QuerySet[Any]] | None" = None,
) -> type[ChoiceFilter]:
    """Return the filter by some values of the column ``parameter``, or by what ``narrow`` makes of them."""
    body: dict[str, Any] = {"title": title, "parameter_name": parameter, "field": parameter, "choices_of": choices}
    if narrow is not None:
        body["narrow"] = lambda _self, queryset, value: narrow(queryset, value)
    return type("ChoiceFilter", (ChoiceFilter,), body)


class KeysetChangeList(PlainChangeList):
    """A change list of one page, which knows where the next one begins."""

    is_keyset = True
    older = ""
    """The query string of the next page; empty if there is none."""
    is_first = True

    def get_filters_params(self, params: Any = None) -> dict[str, Any]:
        """Return the parameters that filter: not the page's."""
        found: dict[str, Any] = super().get_filters_params(params)
        return {name: value for name, value in found.items() if name != AFTER}

    def get_ordering(self, request: HttpRequest, queryset: Any) -> list[Any]:
        """Return the list's one order, whatever was asked for."""
        return list(self.model_admin.get_ordering(request))

    def get_ordering_field_columns(self) -> dict[int, Any]:
        """Return the columns that the list is sorted by: none that could be chosen."""
        return {}

    def get_results(self, request: HttpRequest) -> None:
        """Read the page."""
        model_admin: Any = self.model_admin
        order: tuple[str, ...] = model_admin.keyset
        limit, using = self.list_per_page, self.queryset.db
        of = {"admin": self.model._meta.label, "params": self.get_filters_params()}
        after = str(self.params.get(AFTER, ""))
        arms, served = model_admin.arms(self.query.strip(), self.params, using=using)
        exact = set(self.get_filters_params()) <= {TimeFilter.parameter_name, *served}
        window = limit + 1 if exact else paging.LOOKS * limit
        bounds = paging.Bounds(self._since(order), self._key(after, of, order) if after else None)
        seen = paging.looked_at(self.model, arms, order=order, bounds=bounds, window=window, using=using)
        found = list(self.queryset.filter(pk__in=seen).order_by(*(f"-{name}" for name in order))[: limit + 1])
        rows, last = found[:limit], None
        if len(found) > limit:
            last = [getattr(rows[-1], name) for name in order]
        elif len(seen) == window:
            last = self.model._default_manager.using(using).filter(pk=seen[-1]).values_list(*order).first()
        self.older = "" if last is None else self.get_query_string({AFTER: paging.seal(last, of=of)})
        self.newest = self.get_query_string(remove=[AFTER])
        self.is_first = not after
        self.is_sparse = not exact
        self._hold(rows)

    def _hold(self, rows: list[models.Model]) -> None:
        self.result_list = rows
        self.result_count, self.full_result_count = len(rows), None
        self.show_full_result_count = self.can_show_all = self.multi_page = False
        self.show_admin_actions = bool(rows)
        self.paginator = Paginator(rows, self.list_per_page)

    def _key(self, after: str, of: dict[str, Any], order: Sequence[str]) -> list[Any]:
        try:
            parts = paging.unseal(after, of=of)
            return [paging.field_of(self.model, name).to_python(part) for name, part in zip(order, parts, strict=True)]
        except (exceptions.InvalidCursor, ValueError, TypeError) as error:
            raise IncorrectLookupParameters(error) from error

    def _since(self, order: Sequence[str]) -> list[Any] | None:
        spans = [spec for spec in self.filter_specs if isinstance(spec, TimeFilter)]
        since = spans[0].since() if spans else None
        if since is None:
            return None
        return [since] if len(order) > 1 else [ids.earliest(since, prefix=PrefixedIdField.of(self.model).prefix)]


class PlainAdmin(_ModelAdmin):
    """A model of ours in any admin site."""

    class Media:
        css = {"all": ["django_relay/admin.css"]}

    @property
    def urls(self) -> list[URLPattern]:
        """The addresses of its pages, each of which bears with a database that is busy."""
        found: list[URLPattern] = super().urls
        for pattern in found:
            pattern.callback = busy.calm(pattern.callback)
        return found


class KeysetAdmin(PlainAdmin):
    """A model whose list may be long."""

    keyset: tuple[str, ...] = ("id",)
    """The fields of the list's order, newest first, an index has them; the last is the id."""

    search_fields: ClassVar[tuple[str, ...]] = ("id",)
    search_help_text: ClassVar[Any] = _("A whole id or a whole tenant, not a part of it.")
    list_per_page = PER_PAGE
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # each would be a count
    sortable_by = ()
    list_select_related: ClassVar[bool | tuple[str, ...]] = False

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[KeysetChangeList]:
        """Return the list that never counts."""
        return KeysetChangeList

    def arms(self, term: str, params: dict[str, Any], *, using: str) -> Found:
        """Return where the rows that are looked for stand."""
        prefix = PrefixedIdField.of(self.model).prefix
        return Found(searching.of_tenant(term, prefix=prefix, using=using))

    def get_queryset(self, request: HttpRequest) -> "models.QuerySet[Any]":
        """Read from the database that is written to, so that everybody sees what they have just changed."""
        return super().get_queryset(request).using(router.db_for_write(self.model))

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """Leave the list to its arms; an autocomplete finds a row by its whole id alone."""
        if request.resolver_match is not None and request.resolver_match.url_name == "autocomplete":
            is_id = searching.kind_of(search_term) == PrefixedIdField.of(self.model).prefix
            return (queryset.filter(pk=search_term) if is_id else queryset.none()), False
        return queryset, False

    @admin.display(description=_("id"))
    def short_id(self, row: Any) -> Any:
        """Show enough of the id to tell it from others."""
        return cells.short(row.pk)

    def get_ordering(self, request: HttpRequest) -> list[Any]:
        """Return the list's order."""
        return [f"-{name}" for name in self.keyset]


class ReadOnly(PlainAdmin):
    """What nobody adds, edits or deletes here: history, and what only operations change."""

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        """Refuse."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse."""
        return False

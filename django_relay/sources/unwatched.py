"""Bulk writes that nobody can tell of: on declared models whose manager is no ``RelayQuerySet``.

Django sends no signals for ``bulk_create``, ``bulk_update`` and ``update``. On the managers of such a model each logs
one warning that names the line which called it. Only the managers of declared models are touched.
"""

import logging
import sys
from collections.abc import Iterable
from types import FrameType  # noqa: TC003 - it is two lines
from typing import Any

from django.db import models
from django.db.models.options import Options
from django.utils.functional import cached_property

from django_relay import context
from django_relay.sources import bulk, declarations, differences
from django_relay.sources.declarations import CREATED

logger = logging.getLogger(__name__)

_warned: set[tuple[str, str]] = set()


def watch(model: type[models.Model]) -> None:
    """Let the managers of a declared model see bulk writes. Those that tell of them make its base manager tell too.

    What Django does by the base manager is then told as well: relations of other rows that are set
    (``customer.invoices.add(…)``), and what ``on_delete=SET_NULL`` does.
    """
    model._meta.__class__ = _Options
    _watch(model._meta)


class _Options(Options):  # type: ignore[type-arg]
    """Options of a declared model. Django makes its managers anew whenever the registry of apps changes."""

    @cached_property
    def managers(self) -> Any:
        managers = super().managers  # this model's own copies of those that its classes name
        _watch(self)
        return managers

    @cached_property
    def base_manager(self) -> Any:
        manager = super().base_manager
        _watch(self)
        return manager


def _watch(options: Any) -> None:
    tells = issubclass(_queryset_of(options.default_manager), bulk.RelayQuerySet)
    for manager in {id(each): each for each in (*options.managers, options.base_manager)}.values():
        queryset = _queryset_of(manager)
        if issubclass(queryset, bulk.RelayQuerySet | _Unwatched):
            continue
        mixin: type[Any] = bulk.RelayQuerySet if tells and manager is options.base_manager else _Unwatched
        made = type(queryset.__name__, (mixin, queryset), {"_plain_class": queryset, "__module__": queryset.__module__})
        manager.__class__ = _seeing(type(manager), made)


def _seeing(kind: type[Any], queryset: type[Any]) -> type[Any]:
    """Return a class of managers like ``kind`` with another queryset.

    A class, for Django makes the managers of relations from a manager's class. Its managers equal those of ``kind``:
    where they stand in migrations (``auth.User``), another would be taken for a change of the model.
    """

    def equals(self: Any, other: object) -> bool:
        return isinstance(other, kind) and self._constructor_args == other._constructor_args  # noqa: SLF001 - as Django has it

    body = {"_queryset_class": queryset, "__module__": kind.__module__, "__eq__": equals, "__hash__": kind.__hash__}
    return type(kind.__name__, (kind,), body)


def _queryset_of(manager: models.Manager[Any]) -> type[Any]:
    return manager._queryset_class  # type: ignore[attr-defined,no-any-return] # noqa: SLF001 - of every manager


class _Unwatched(models.QuerySet[Any]):
    """Warns of bulk writes; pickles as what it stands for."""

    _plain_class: type[Any] = models.QuerySet

    def __reduce__(self) -> tuple[Any, ...]:
        return (self._plain_class.__new__, (self._plain_class,), self.__getstate__())

    def bulk_create(self, objs: Any, *args: Any, **kwargs: Any) -> Any:
        _warn(self.model, "bulk_create", is_news=_is_declared(self.model, CREATED))
        return super().bulk_create(objs, *args, **kwargs)

    def bulk_update(self, objs: Any, fields: Iterable[str], *args: Any, **kwargs: Any) -> Any:
        fields = list(fields)
        _warn(self.model, "bulk_update", is_news=_is_heeded(self.model, fields))
        return super().bulk_update(objs, fields, *args, **kwargs)

    def update(self, **kwargs: Any) -> int:
        _warn(self.model, "update", is_news=_is_heeded(self.model, kwargs))
        return super().update(**kwargs)


def _is_declared(model: type[models.Model], kind: str) -> bool:
    return any(kind in each.names for each in declarations.concerning(model))


def _is_heeded(model: type[models.Model], names: Iterable[str]) -> bool:
    attributes = differences.attributes(model, list(names))
    return any(each.heeds_writes_of(attributes) for each in declarations.concerning(model))


def _warn(model: type[models.Model], method: str, *, is_news: bool) -> None:
    if not is_news or context.is_suppressed():
        return
    place = _caller()
    if (model._meta.label, place) in _warned:
        return
    _warned.add((model._meta.label, place))
    logger.warning(
        "%s.%s() at %s makes no events: give the model a RelayQuerySet, or say suppressed() where that is meant.",
        model._meta.label,
        method,
        place,
        extra={"event": "source.unwatched_bulk", "model": model._meta.label, "place": place},
    )


def _caller() -> str:
    """Return the line of the host's code that is being run."""
    frame: FrameType | None = sys._getframe(2)
    while (
        frame
        and frame.f_back
        and frame.f_globals.get("__name__", "").split(".")[0] in ("django", "django_relay", "asgiref")
    ):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else "?"

"""What staff do to rows: one operation at a time or to several, each asked about on a page of its own and on record.

An :class:`Operation` names what is done, which permission it needs, and the function that does it, which makes one
call of the model or pipeline and records it. Nothing happens by GET, and nothing without the page that says what will.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.functional import Promise
from django.utils.translation import ngettext
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables

from django_relay import exceptions
from django_relay.admin import cells, staff
from django_relay.admin.lists import PER_PAGE, PlainAdmin
from django_relay.rules.access import Caller

Text = str | Promise


@dataclass(frozen=True, slots=True)
class Shown:
    """Something that is shown now and never again."""

    label: Text
    value: str = field(repr=False)
    is_link: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """What an operation came to: a message, where to go on, and what is shown once."""

    message: Text
    goto: str = ""
    shown: Sequence[Shown] = ()
    is_warning: bool = False


def _always(row: Any) -> bool:
    return True


def _no_form(request: HttpRequest, rows: Sequence[Any]) -> type[forms.Form]:
    return forms.Form


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One thing that staff can do to a row."""

    name: str
    label: Text
    question: Text
    """What happens, in a sentence or two, on the page that asks."""
    permission: str
    """Django's, with the app: ``django_relay.replay_delivery``."""
    perform: Callable[[Caller, Any, dict[str, Any]], Done]
    """Given who asks, the row, and what was chosen in the form; does it and records it, in the transaction it is in.

    Raises RelayError or ValidationError: it cannot be done; nothing was."""
    applies: Callable[[Any], bool] = _always
    """Whether the row is in a state in which it makes sense; the pipeline decides whether it can be done."""
    form: Callable[[HttpRequest, Sequence[Any]], type[forms.Form]] = _no_form
    """The form of what can be chosen, for who asks and the rows."""
    many: Callable[[Caller, Sequence[Any], dict[str, Any]], Done] | None = None
    """For several rows at once; default one by one."""
    label_of_many: Text = ""
    """What it is called as an action of the list; empty for none."""
    is_destructive: bool = False


class Operated(PlainAdmin):
    """A model whose rows staff operate on."""

    operations: Sequence[Operation] = ()

    def get_urls(self) -> list[URLPattern]:
        """Return the admin's addresses, and those of the operations."""
        name = f"{self.opts.app_label}_{self.opts.model_name}_operation"
        view = self.admin_site.admin_view(self.operation_view)
        return [path("<path:object_id>/do/<slug:operation>/", view, name=name), *super().get_urls()]

    def offered(self, request: HttpRequest, row: Any) -> list[dict[str, Any]]:
        """Return what the person may do to a row in its state: labels and addresses."""
        return [
            {"label": operation.label, "url": self.operation_url(operation, row), "name": operation.name}
            for operation in self.operations
            if request.user.has_perm(operation.permission) and operation.applies(row)
        ]

    def operation_url(self, operation: Operation, row: Any) -> str:
        """Return the address of the page that asks about it."""
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_operation"
        return reverse(name, args=[quote(row.pk), operation.name], current_app=self.admin_site.name)

    @method_decorator(sensitive_post_parameters())
    @sensitive_variables()
    def operation_view(self, request: HttpRequest, object_id: str, operation: str) -> HttpResponse:
        """Ask about an operation on one row, and do it."""
        found = next((known for known in self.operations if known.name == operation), None)
        if found is None:
            raise Http404
        row = self.get_object(request, unquote(object_id))
        if not self.has_view_permission(request, row) or not request.user.has_perm(found.permission):
            raise PermissionDenied
        if row is None:
            raise Http404
        back = cells.url_of(self.model, row.pk)
        form = found.form(request, [row])(request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            try:
                with transaction.atomic(row._state.db):
                    done = found.perform(staff.caller_of(request), row, form.cleaned_data)
            except (exceptions.RelayError, ValidationError) as error:
                _tell_problem(form, error)
            else:
                return finish(self, request, done, back=back, title=found.label)
        return ask(self, request, found, [row], form, back=back)

    # The same, for the rows selected in a list

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Return the actions of the list that the person may take; those of the whole site do not fit our rows."""
        if "_popup" in request.GET:
            return {}
        return {
            f"do_{operation.name}": (partial(_act, operation), f"do_{operation.name}", operation.label_of_many)
            for operation in self.operations
            if operation.label_of_many and request.user.has_perm(operation.permission)
        }

    def about(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """Return what a row's page shows besides its fields.

        ``relay_before`` and ``relay_about`` are templates before and after the fields; the rest is for them.
        """
        return {}

    def render_change_form(
        self, request: HttpRequest, context: Any, add: bool = False, change: bool = False, form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:  # fmt: skip
        """Offer the operations above a row's page, and show what it shows besides its fields."""
        if obj is not None:
            context |= {"relay_operations": self.offered(request, obj), **self.about(request, obj)}
        return super().render_change_form(request, context, add, change, form_url, obj)


def _act(operation: Operation, modeladmin: Operated, request: HttpRequest, _queryset: Any) -> HttpResponse:
    """Ask about an operation on the selected rows, and do it; no more rows than a page has."""
    keys = request.POST.getlist(ACTION_CHECKBOX_NAME)[:PER_PAGE]
    rows = _selected(modeladmin, request, keys)
    back = request.get_full_path()
    is_answer = "confirmed" in request.POST
    form = operation.form(request, rows)(request.POST if is_answer else None)
    if is_answer and form.is_valid():
        caller = staff.caller_of(request)
        try:
            many = operation.many or partial(_one_by_one, operation)
            done = many(caller, rows, form.cleaned_data)  # in transactions of its own
        except (exceptions.RelayError, ValidationError) as error:
            _tell_problem(form, error)
        else:
            return finish(modeladmin, request, done, back=back, title=operation.label)
    return ask(modeladmin, request, operation, rows, form, back=back, action=f"do_{operation.name}")


def _selected(modeladmin: Operated, request: HttpRequest, keys: Iterable[str]) -> list[Any]:
    known = []
    for key in keys:
        try:
            known.append(modeladmin.opts.pk.to_python(key))
        except ValidationError:
            continue  # nobody's; the page says how many there are
    return list(modeladmin.get_queryset(request).filter(pk__in=known).order_by("-pk"))


def _one_by_one(operation: Operation, caller: Caller, rows: Sequence[Any], chosen: dict[str, Any]) -> Done:
    problems: Counter[str] = Counter()
    for row in rows:
        try:
            with transaction.atomic(row._state.db):
                operation.perform(caller, row, chosen)
        except (exceptions.RelayError, ValidationError) as error:
            problems[_sentence(error)] += 1
    count = len(rows) - problems.total()
    said = ngettext("%(count)d done.", "%(count)d done.", count) % {"count": count}
    told = [f"{number}: {problem}" for problem, number in problems.most_common()]
    return Done(" ".join([said, *told]), is_warning=bool(problems))


def ask(
    modeladmin: PlainAdmin,
    request: HttpRequest,
    operation: Operation,
    rows: Sequence[Any],
    form: forms.Form,
    *,
    back: str,
    action: str = "",
) -> TemplateResponse:
    """Show the page that says what will be done, and to how many."""
    context = {
        **modeladmin.admin_site.each_context(request),
        "title": operation.label,
        "opts": modeladmin.opts,
        "operation": operation,
        "rows": rows,
        "count": len(rows),
        "form": form,
        "back": back,
        "action": action,
        "checkbox_name": ACTION_CHECKBOX_NAME,
        "media": modeladmin.media + form.media,
    }
    status = 409 if form.is_bound and form.errors else 200
    return TemplateResponse(request, "admin/django_relay/confirm.html", context, status=status)


@sensitive_variables()
def finish(modeladmin: PlainAdmin, request: HttpRequest, done: Done, *, back: str, title: Text) -> HttpResponse:
    """Say what was done, and go on; what is shown once is on the very page that answers."""
    if done.shown:
        context = {
            **modeladmin.admin_site.each_context(request),
            "title": title,
            "opts": modeladmin.opts,
            "done": done,
            "back": done.goto or back,
            "media": modeladmin.media,
        }
        return TemplateResponse(request, "admin/django_relay/shown_once.html", context)
    modeladmin.message_user(request, str(done.message), messages.WARNING if done.is_warning else messages.SUCCESS)
    return HttpResponseRedirect(done.goto or back, status=303)


def _tell_problem(form: forms.Form, error: Exception) -> None:
    form.add_error(None, _sentence(error))


def _sentence(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return " ".join(error.messages)
    return str(error)

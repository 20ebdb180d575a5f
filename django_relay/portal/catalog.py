"""The event catalog: what can be received, with its schema in words and an example."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.http import Http404, HttpRequest, HttpResponseBase
from django.utils.translation import gettext as _

from django_relay.models import EventType
from django_relay.portal import frame, subscriptions
from django_relay.portal.visits import Visit

_DEEPEST = 6
_MOST = 200  # properties of one schema that are listed


@dataclass(frozen=True, slots=True)
class Property:
    """One field of an event's data, in words."""

    name: str
    kind: str
    required: bool = False
    description: str = ""
    rules: Sequence[str] = ()
    values: Sequence[str] = ()
    inner: Sequence["Property"] = field(default=())


@frame.page()
def show(request: HttpRequest, visit: Visit, name: str = "") -> HttpResponseBase:
    """Show the catalog's tree, and one of its types."""
    found = subscriptions.types(visit)
    row = None
    if name:
        rows = EventType.objects.using(visit.using).filter(application_id=visit.owner.application_id)
        row = rows.filter(name=name).first() if "\x00" not in name else None
        if row is None:
            raise Http404
    names = [each.name for each in found]
    context = {
        "section": "catalog",
        "groups": subscriptions.tree(found, names),
        "type": row,
        "properties": list(_properties(row.schema)) if row is not None and isinstance(row.schema, Mapping) else [],
        "related": row is not None and row.replaced_by in names,
    }
    return frame.show(request, visit, "catalog/catalog.html", context)


def _properties(schema: Mapping[str, Any], depth: int = 0, root: Mapping[str, Any] | None = None) -> Iterator[Property]:
    """Give the properties of an object's schema, those of nested objects within them."""
    root = root or schema
    schema = _resolved(schema, root)
    found, required = schema.get("properties"), schema.get("required")
    if not isinstance(found, Mapping) or depth >= _DEEPEST:
        return
    for name, each in list(found.items())[:_MOST]:
        rule = _resolved(each, root) if isinstance(each, Mapping) else {}
        items = rule.get("items")
        nested = _resolved(items, root) if isinstance(items, Mapping) else rule
        yield Property(
            name=str(name),
            kind=_kind(rule, nested),
            required=isinstance(required, Sequence) and name in required,
            description=str(rule.get("description", "")),
            rules=list(_rules(rule)),
            values=[str(value) for value in rule["enum"][:_MOST]] if isinstance(rule.get("enum"), list) else [],
            inner=list(_properties(nested, depth + 1, root)),
        )


def _resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow a reference within the schema, once; remote ones are never followed."""
    reference = schema.get("$ref")
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return schema
    found: Any = root
    for part in reference[2:].split("/"):
        found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
    return {**found, **schema} if isinstance(found, Mapping) else schema


def _kind(rule: Mapping[str, Any], nested: Mapping[str, Any]) -> str:
    given = rule.get("type")
    words = {
        "string": _("text"),
        "integer": _("whole number"),
        "number": _("number"),
        "boolean": _("true or false"),
        "object": _("object"),
        "array": _("list"),
        "null": _("null"),
    }
    names = given if isinstance(given, list) else [given]
    said = _(" or ").join(str(words.get(name, name)) for name in names if name)
    inner = nested.get("type")
    if given == "array" and nested is not rule and isinstance(inner, str):
        return _("list of %(kind)s") % {"kind": words.get(inner, inner)}
    return said or (_("one of") if "enum" in rule else _("anything"))


def _rules(rule: Mapping[str, Any]) -> Iterator[str]:
    words = {
        "format": _("format %(value)s"),
        "pattern": _("matches %(value)s"),
        "minLength": _("at least %(value)s characters"),
        "maxLength": _("at most %(value)s characters"),
        "minimum": _("at least %(value)s"),
        "maximum": _("at most %(value)s"),
        "exclusiveMinimum": _("more than %(value)s"),
        "exclusiveMaximum": _("less than %(value)s"),
        "minItems": _("%(value)s or more entries"),
        "maxItems": _("up to %(value)s entries"),
        "const": _("always %(value)s"),
        "default": _("%(value)s if left out"),
    }
    for name, text in words.items():
        if name in rule:
            yield text % {"value": rule[name]}

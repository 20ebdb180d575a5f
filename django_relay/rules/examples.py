"""An example of what a JSON Schema describes, always the same one."""

from collections.abc import Mapping
from typing import Any

_FORMATS = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T09:30:00+00:00",
    "uuid": "01890a5d-ac96-774b-bcce-b302099a8057",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
}
_PLAIN = {"string": "text", "integer": 1, "number": 1.5, "boolean": True, "null": None}


def of(schema: Mapping[str, Any] | bool) -> Any:
    """Return an example that fits the schema, for schemas as the sources derive them.

    The schema's own ``examples`` go first; then ``enum``, the first of ``anyOf`` and the first of its types.
    """
    if isinstance(schema, bool):
        return None
    for given in ("examples", "enum"):
        if schema.get(given):
            return schema[given][0]
    if schema.get("anyOf"):
        return of(schema["anyOf"][0])
    kind = schema.get("type")
    match kind[0] if isinstance(kind, list) else kind:
        case "object":
            return {name: of(part) for name, part in schema.get("properties", {}).items()}
        case "array":
            return [of(schema["items"])] if "items" in schema and schema.get("maxItems") != 0 else []
        case "string":
            text = _FORMATS.get(schema.get("format", ""), _PLAIN["string"])
            return str(text)[: schema.get("maxLength")]
        case other:
            return _PLAIN.get(str(other))

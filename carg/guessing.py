"""What a tool of others tells by its names alone: its effect, its resource, and where ids and records stand."""

from __future__ import annotations

from collections.abc import Iterable

from carg.records import Effect, Json
from carg.vocabulary import tokens

VERBS: dict[Effect, str] = {
    "read": "get read fetch show view describe retrieve check download is has display cat status info",
    "search": "list search find query lookup browse filter discover ls recommend",
    "create": "create add new insert book open register post upload make reserve subscribe",
    "update": "update set edit modify change rename put patch write move adjust configure assign replace",
    "delete": "delete remove clear unstar drop unsubscribe rm",
    "compute": "calculate compute calc convert solve estimate predict analyze analyse evaluate translate count",
}
"""Verbs of tool names by the effect they tell; a name with none of them is an action."""

_EFFECTS = {verb: effect for effect, verbs in VERBS.items() for verb in verbs.split()}


def guess_effect(name: str, annotations: dict[str, Json] | None = None) -> Effect:
    """What a tool does to its service: the hints of MCP, then the first known verb of its name."""
    hints = annotations or {}
    words = tokens(name)
    told: Effect = next((_EFFECTS[word] for word in words if word in _EFFECTS), "action")
    read_only = hints.get("readOnlyHint", hints.get("read_only"))
    if read_only is True and told not in ("read", "search", "compute"):
        return "read"
    if read_only is False and told in ("read", "search"):
        return "action"
    return "delete" if hints.get("destructiveHint") is True and told == "action" else told


def guess_resource(name: str) -> str | None:
    """The noun of a tool's name: what follows its verb, in the singular."""
    words = tokens(name)
    nouns = [word for word in words[1:] if word not in _EFFECTS] if words and words[0] in _EFFECTS else []
    return "_".join(nouns[:2]).removesuffix("s") or None


def guess_id(names: Iterable[str], resource: str | None) -> str | None:
    """The name that holds the id of a record: `id`, or the resource's own id, else the first that ends in id."""
    ids = [key for key in names if tokens(key)[-1:] == ["id"]]
    own = [key for key in ids if "_".join(tokens(key)) in ("id", f"{resource}_id")]
    return next(iter([*own, *ids]), None)


def guess_places(returns: dict[str, Json], resource: str | None) -> tuple[str | None, str | None]:
    """Where a body has its records, if it has one list of objects, and where their id stands (dotted paths)."""
    properties = returns.get("properties", {})
    items = {name: schema.get("items") for name, schema in properties.items() if isinstance(schema, dict)}
    lists = {
        name: item["properties"] for name, item in items.items() if isinstance(item, dict) and "properties" in item
    }
    if len(lists) == 1:
        [(name, inner)] = lists.items()
        key = guess_id(inner, resource)
        return name, f"{name}.{key}" if key else None
    return None, guess_id(properties, resource)

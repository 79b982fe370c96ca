"""What tools there are: how many, how many written by hand of an author, how many shapes, how many alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from carg.checks.corpus import exact_duplicates, near_duplicates, sign_tool
from carg.records import Json, Tool, digest
from carg.stats import Table, share
from carg.world.model import GENERIC

GENERIC_BOUND = 0.60
"""At most so many tools of a domain may come from the generic operations."""


def count_tools(tools: Iterable[Tool]) -> list[Table]:
    """Two tables: the whole (with likeness), and one row a domain."""
    tools = sorted(tools, key=lambda tool: tool.id)
    domains: dict[str, list[Tool]] = defaultdict(list)
    for tool in tools:
        domains[tool.domain].append(tool)
    signatures = [sign_tool(tool) for tool in tools]
    exact, near = exact_duplicates(signatures), near_duplicates(signatures)
    whole = (
        ("tools", len(tools)),
        ("domains", len(domains)),
        ("services", len({(tool.domain, tool.service) for tool in tools})),
        ("names", len({tool.name for tool in tools})),
        ("generic share", share(sum(map(is_generic, tools)), len(tools))),
        ("skeletons", len({skeleton(tool) for tool in tools})),
        ("variants", sum(tool.variant is not None for tool in tools)),
        ("exact duplicates share", share(len(exact), len(tools))),
        ("near duplicates share", share(len(near), len(tools))),
    )
    rows = tuple((domain, *_count(domains[domain])) for domain in sorted(domains))
    columns = ("domain", "services", "tools", "generic share", "skeletons", "errors a tool", "verdict")
    notes = f"The bound on the generic share of a domain is {GENERIC_BOUND:.0%}."
    return [Table("Tools", ("measure", "value"), whole), Table("Domains", columns, rows, notes)]


def _count(tools: Sequence[Tool]) -> tuple[Json, ...]:
    generic = share(sum(map(is_generic, tools)), len(tools))
    errors = round(sum(len(tool.errors) for tool in tools) / len(tools), 1)
    services, shapes = {tool.service for tool in tools}, {skeleton(tool) for tool in tools}
    verdict = "ok" if generic <= GENERIC_BOUND else "too generic"
    return len(services), len(tools), generic, len(shapes), errors, verdict


def is_generic(tool: Tool) -> bool:
    """The tool comes from the generic operations of worlds, or varies a formula: nobody wrote it."""
    return (tool.binding or {}).get("kind") in (*GENERIC, "sweep", "solve")


def skeleton(tool: Tool) -> str:
    """What is left of a tool without names and words: effect, and the shapes of parameters and returns."""
    return digest(tool.effect, _shape(tool.parameters), _shape(tool.returns))


def _shape(schema: Json) -> Any:
    """The schema as nested lists of types, in an order that does not depend on names."""
    if not isinstance(schema, dict):
        return None
    required = set(schema.get("required", ()))
    parts = [[name in required, _shape(inner)] for name, inner in schema.get("properties", {}).items()]
    words = sorted(schema.keys() & {"enum", "format", "minimum", "maximum", "pattern", "default"})
    return [str(schema.get("type")), words, sorted(parts, key=repr), _shape(schema.get("items"))]

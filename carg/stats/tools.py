"""What tools there are: how many, how many written by hand of an author, how many shapes, how many alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from carg.checks.corpus import exact_duplicates, near_duplicates, sign_tool
from carg.records import Json, Tool, digest
from carg.stats import Table, share
from carg.store import parts, read_manifest
from carg.world.model import GENERIC

VERDICTS = ("believed", "unproved", "refused", "untried")
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


def trial_tables(run: Path) -> list[Table]:
    """What the trials said of effects and predicates that a model wrote, and which candidates were refused, with why.

    None where the tools are not a model's. Raises StoreError when expand is not finished.
    """
    manifest = read_manifest(run / "expand", "expand")
    trials, refused = manifest.get("trials") or {}, manifest.get("refused") or {}
    if not trials:
        return []
    rows = []
    for kind in ("effect", "predicate"):
        counts = [trials.get(f"{kind} {verdict}", 0) for verdict in VERDICTS]
        rows.append((f"{kind}s", *counts, share(counts[0], sum(counts)), share(counts[1], sum(counts))))
    notes = (
        "Of tools that were kept; a refused effect refuses its tool. Believed: proved by execution, may be a label; "
        "unproved and refused: never; untried: rests on records, or nothing is said."
    )
    columns = ("claims of the model", *VERDICTS, "believed share", "unproved share")
    found = {sample["check"]: sample for sample in reversed(list(_samples(run)))}
    why = tuple(
        (check, count, found.get(check, {}).get("words", "")[:160]) for check, count in refused.items() if count
    )
    return [
        Table("Claims on trial", columns, tuple(rows), notes),
        Table("Refused candidates", ("check", "candidates", "for example"), why, "More: expand/refused-00000.jsonl."),
    ]


def _samples(run: Path) -> Iterator[Json]:
    for path in parts(run / "expand", "refused"):
        yield from map(orjson.loads, path.read_bytes().splitlines())


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

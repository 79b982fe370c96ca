"""Imported tools: an instance for each of their services, and calls with proved labels but no answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from carg.errors import RecordError
from carg.records import Instance, Json, Tool, digest
from carg.scene import open_book
from carg.siblings import collect_lexicon
from carg.stages.calls import draw_calls, draw_pairs
from carg.store import run_digest, write_part
from carg.world.conventions import draw_convention

MOST_TOOLS = 40
"""Tools of one instance; a larger service is cut into several."""
PAIR_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class ToolCalls:
    """The calls drawn for one tool: records of calls, and of calls that its sibling definitions accept."""

    id: str
    tool: str
    calls: tuple[Json, ...]
    pairs: tuple[Json, ...]


@dataclass(frozen=True, slots=True)
class CallReport:
    """How many calls by label and fault, over how many tools; and the digest."""

    counts: dict[str, int]
    digest: str


def instances_of(tools: Sequence[Tool], seed: int) -> list[Instance]:
    """One instance per service of the tools (several where it is large), each with a drawn convention."""
    services: dict[tuple[str, str], list[Tool]] = {}
    for tool in tools:
        services.setdefault((tool.domain, tool.service), []).append(tool)
    made = []
    for (domain, service), own in sorted(services.items()):
        for number in range(0, len(own), MOST_TOOLS):
            key = digest("imported", seed, domain, service, number)
            rng = Random(key)
            # Real tools are called as OpenAI and MCP clients do; the arguments must stay as their schemas say.
            convention = draw_convention(
                rng, must={"syntax": rng.choice(("openai", "mcp")), "auth": "none", "nesting": "flat"}
            )
            ids = tuple(tool.id for tool in own[number : number + MOST_TOOLS])
            instance = Instance("", domain, "imported", service, int(key[:8], 16), convention, ids)
            made.append(replace(instance, id=digest("instance", instance)))
    return made


def write_calls(run: Path, folder: Path, n_calls: int, seed: int) -> CallReport:
    """`calls` part files: valid, invalid and look-alike calls of every tool of the run, `n_calls` in all."""
    tools = list(open_book(run).tools.values())
    lexicon = collect_lexicon(tools)
    each = max(4, -(-n_calls // max(1, len(tools))))
    n_pairs = round(each * PAIR_SHARE / 2)
    counts: dict[str, int] = {"tools": len(tools), "calls": 0, "pairs": 0, "tools without calls": 0}
    made = []
    for tool in tools:
        rng = Random(digest("calls", seed, tool.id))
        try:
            left = each - 2 * n_pairs
            calls = draw_calls(
                tool, rng, n_valid=-(-left // 2), n_invalid=left // 3, n_lookalike=left // 6, lexicon=lexicon
            )
            pairs = draw_pairs(tool, rng, count=n_pairs, lexicon=lexicon)
        except RecordError:
            counts["tools without calls"] += 1
            continue
        made.append(ToolCalls(digest("calls", tool.id, calls, pairs), tool.id, tuple(calls), tuple(pairs)))
        counts["calls"] += len(calls)
        counts["pairs"] += len(pairs)
        for call in calls:
            counts[f"label/{call.label}"] = counts.get(f"label/{call.label}", 0) + 1
            if call.violates:
                counts[f"fault/{call.violates[0].fault}"] = counts.get(f"fault/{call.violates[0].fault}", 0) + 1
    write_part(folder, "calls", 0, made)
    return CallReport(counts, run_digest({"calls": [item.id for item in made]}))

"""Imported tools: an instance for each of their services, and calls with proved labels but no answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from carg.edits import Lexicon
from carg.errors import RecordError
from carg.records import Call, Instance, Tool, digest
from carg.scene import open_book
from carg.siblings import collect_lexicon
from carg.stages.calls import Pair, draw_calls, draw_pairs
from carg.store import run_digest, write_part
from carg.world.conventions import draw_convention

MOST_TOOLS = 40
"""Tools of one instance; a larger service is cut into several."""
PAIR_SHARE = 0.5
"""Of the calls; a pair is two."""
NOT_FOUND = "not found"
"""Calls that were asked for and that the schemas offered no place for."""


@dataclass(frozen=True, slots=True)
class ToolCalls:
    """The calls drawn for one tool: records of calls, and of calls that its sibling definitions accept."""

    id: str
    tool: str
    calls: tuple[Call, ...]
    pairs: tuple[Pair, ...]


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
    """`calls` part files: valid, invalid and look-alike calls of the run's tools, alone and in pairs, `n_calls` in all.

    What one tool has no place for is asked of the next; what no tool had a place for is counted.
    """
    # Those with least to say come first, so that the others can take over what they have no place for.
    tools = sorted(open_book(run).tools.values(), key=lambda tool: len(tool.parameters.get("properties", {})))
    lexicon = collect_lexicon(tools)
    counts = Counter({"tools": len(tools), "calls": 0, "pairs": 0, "tools without calls": 0})
    made = []
    for at, tool in enumerate(tools):
        wanted = n_calls * (at + 1) // len(tools) - counts["calls"]
        found = _draw(tool, wanted, Random(digest("calls", seed, tool.id)), lexicon)
        if found is None:
            counts["tools without calls"] += wanted > 0
            continue
        made.append(found)
        calls = [*found.calls, *(call for pair in found.pairs for call in (pair.refused, pair.accepted))]
        counts.update({"calls": len(calls), "pairs": len(found.pairs)})
        counts.update(f"label/{call.label}" for call in calls)
        counts.update(f"fault/{call.violates[0].fault}" for call in calls if call.violates)
    if missing := n_calls - counts["calls"]:
        counts[NOT_FOUND] = missing
    write_part(folder, "calls", 0, made)
    return CallReport(dict(counts), run_digest({"calls": [item.id for item in made]}))


def _draw(tool: Tool, n_calls: int, rng: Random, lexicon: Lexicon) -> ToolCalls | None:
    """So many calls of a tool, fewer where its schema offers no more; None for none."""
    try:
        pairs = draw_pairs(tool, rng, count=round(n_calls * PAIR_SHARE / 2), lexicon=lexicon)
        left = n_calls - 2 * len(pairs)
        n_invalid, n_lookalike = left // 3, left // 6

        def draw(n_valid: int) -> list[Call]:
            return draw_calls(tool, rng, n_valid=n_valid, n_invalid=n_invalid, n_lookalike=n_lookalike, lexicon=lexicon)

        calls = draw(left - n_invalid - n_lookalike)
        if missing := left - len(calls):
            calls = draw(left - n_invalid - n_lookalike + missing)
    except RecordError:
        return None
    if not calls and not pairs:
        return None
    return ToolCalls(digest("calls", tool.id, calls, pairs), tool.id, tuple(calls), tuple(pairs))

"""What people would ask for, by a model, so that a tool or a chain of tools answers it: the queries of GenTool pairs.

The tools are chosen by code and the first call is judged by code; a query that names a tool, or whose first call is
refused or speaks of a record that the query does not, is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from random import Random

from carg.asking import Ask
from carg.errors import RecordError
from carg.records import Instance, Json, Query, Tool, digest
from carg.stages.answer import CALLERS
from carg.stages.telling import show_definition
from carg.world.refusing import definition_of, judge_call
from carg.world.shadow import subject_of

QUERIES_A_SLOT = 8
MOST_TOOLS = 8
"""Shown at a time, as in a row."""


async def write_queries(instance: Instance, tools: Sequence[Tool], ask: Ask, *, seed: int) -> list[Query]:
    """Up to QUERIES_A_SLOT sound queries on some tools of the instance. Raises what `ask` raises."""
    rng = Random(digest("queries", instance.id, seed))
    offered = {tool.name: tool for tool in rng.sample(list(tools), min(MOST_TOOLS, len(tools)))}
    style = rng.choice(sorted(CALLERS))
    variables = {
        "service": f"{instance.service} ({instance.domain})",
        "definitions": [show_definition(definition_of(tool)) for tool in offered.values()],
        "asker": CALLERS[style],
        "n_queries": QUERIES_A_SLOT,
    }
    found: dict[str, Query] = {}

    def check(value: Json) -> str | None:
        found.clear()
        complaints = []
        for offer in value["queries"][:QUERIES_A_SLOT]:
            if said := _complaint(instance, offered, offer):
                complaints.append(said)
                continue
            ids = tuple(offered[name].id for name in offer["tools"])
            query = Query("", instance.domain, instance.service, offer["query"], ids, offer["arguments"], style)
            query = replace(query, id=digest("query", asdict(query)))
            found[query.id] = query
        return None if found else "; ".join(complaints[:3])

    await ask("queries", variables, sample=seed, check=check)
    return list(found.values())


def _complaint(instance: Instance, offered: dict[str, Tool], offer: dict[str, Json]) -> str | None:
    text, names = offer["query"], offer["tools"]
    if unknown := [name for name in names if name not in offered]:
        return f"there is no tool {unknown[0]!r}, only {', '.join(offered)}"
    if len(set(names)) < len(names):
        return f"{names}: a tool stands twice"
    if named := [name for name in offered if name in text]:
        return f"the query names the tool {named[0]}"
    definition = definition_of(offered[names[0]])
    try:
        judged = judge_call(instance.convention, definition, offer["arguments"])
    except RecordError as fault:
        return fault.message
    if judged.error is not None:
        return f"{names[0]} refuses the arguments: {judged.error.message}"
    subject = subject_of(definition, offer["arguments"])
    return f"the query does not say {subject!r}" if subject is not None and subject not in text else None

"""Candidates for tools, as a model wrote them: made into tools, put on trial, and judged beside those that exist."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from random import Random
from typing import NamedTuple

from carg.checks import judge_tool
from carg.checks.corpus import Buckets, sign_tool
from carg.errors import RecordError
from carg.fill import fill
from carg.normalising import normalise_schema
from carg.prompts import load_prompt
from carg.records import ErrorSpec, Json, Tool, digest
from carg.replies import schema_complaint
from carg.schemas import schema_complaints, types_of, walk
from carg.world.effects import try_effect
from carg.world.predicates import try_errors
from carg.world.refusing import definition_of

TEXT_LENGTH, LIST_LENGTH = 200, 50
"""Bounds given to strings and lists that came without any, so that decoding under the schema ends."""
ALIKE = 0.7
"""Likeness by MinHash above which two tools are one. A corpus allows 0.8; the estimate errs by 0.05 a standard error,
so what passes here is truly under 0.8."""

LOOSE = {
    "type": "object",
    "required": ["tools"],
    "properties": {"tools": {"type": "array", "minItems": 1, "maxItems": 60}},
}
"""What a reply with tools must fit: each tool is judged by itself, so that a bad one does not spoil the paid rest."""


class Judged(NamedTuple):
    """One candidate: a tool, and what its trials said ("rule believed"); or None and `check: words`."""

    tool: Tool | None
    complaint: str
    trials: tuple[str, ...]
    raw: Json


class Known:
    """Tools that exist: what another may neither be called nor say."""

    def __init__(self, tools: Iterable[Tool] = ()) -> None:
        self.names: dict[str, str] = {}
        self.alike = Buckets(ALIKE)
        for tool in tools:
            self.add(tool)

    def add(self, tool: Tool) -> None:
        self.names[tool.id] = tool.name
        self.alike.put(sign_tool(tool))

    def complaint(self, tool: Tool) -> str | None:
        """What it repeats, in words; None where it is new."""
        if tool.name in self.names.values():
            return f"name: {tool.name}: there is a tool of that name"
        found = self.alike.find(sign_tool(tool))
        return f"duplicate: {tool.name}: it says nearly the same as {self.names[found]}" if found else None


def judge_tools(offers: Iterable[Json], domain: str, service: str, known: Known) -> list[Judged]:
    """Each candidate of an answer, judged alone, beside the tools that exist, and beside those before it."""
    shape = load_prompt("tools").reply["properties"]["tools"]["items"]
    before, out = Known(), list[Judged]()
    for raw in offers:
        name = raw.get("name") if isinstance(raw, dict) else "an item that is no object"
        if said := schema_complaint(shape, raw):
            out.append(Judged(None, f"shape: {name}: {said}"[:300], (), raw))
            continue
        try:
            tool, trials = make_tool(raw, domain=domain, service=service)
        except RecordError as fault:
            out.append(Judged(None, f"schema: {name}: {fault.message}"[:300], (), raw))
            continue
        complaint = tool_complaint(tool, known) or before.complaint(tool)
        if not complaint:
            effect = try_effect(definition_of(tool), Random(tool.id))
            trials = (f"effect {effect.verdict}", *trials)
            complaint = f"effect: {name}: {effect.words}" if effect.verdict == "refused" else None
        out.append(Judged(None if complaint else tool, complaint or "", trials, raw))
        if not complaint:
            before.add(tool)
    return out


def make_tool(raw: Mapping[str, Json], *, domain: str, service: str) -> tuple[Tool, tuple[str, ...]]:
    """The Tool that a model described, its schemas closed and bounded by rule, and what the trials of its errors said.

    Raises RecordError when a schema cannot be read, or accepts nothing.
    """
    parameters, returns = _sound(raw["parameters"], parameters=True), _sound(raw["returns"], parameters=False)
    rng = Random(digest("trial", raw["name"], parameters))
    fill(returns, rng)
    errors = try_errors([ErrorSpec(**error) for error in raw["errors"]], parameters, rng)
    places = ("id_argument", "id_result", "records_result")
    tool = Tool(
        id="",
        domain=domain,
        service=service,
        name=raw["name"],
        title=raw["title"],
        description=raw["description"],
        parameters=parameters,
        returns=returns,
        effect=raw["effect"],
        resource=raw["resource"],
        **{place: raw[place] for place in places},
        errors=tuple(trial.error for trial in errors),
        origin="model",
    )
    return replace(tool, id=digest("tool", asdict(tool))), tuple(f"predicate {trial.verdict}" for trial in errors)


def _sound(raw: Json, *, parameters: bool) -> dict[str, Json]:
    schema = normalise_schema(raw)
    if complaints := schema_complaints(schema, bounded=False, parameters=parameters):
        raise RecordError(f"{'parameters' if parameters else 'returns'}: {complaints[0]}")
    return close_schema(schema)


def close_schema(schema: dict[str, Json]) -> dict[str, Json]:
    """The schema with its objects closed, and bounds for the strings and lists that have none."""
    for _, node in walk(schema):
        kinds = types_of(node)
        if "properties" in node:
            node.setdefault("additionalProperties", False)
        bounded = node.keys() & {"enum", "const", "maxLength", "pattern"} or node.get("format") in ("date", "date-time")
        if "string" in kinds and not bounded:
            node["maxLength"] = TEXT_LENGTH
        if "array" in kinds:
            node.setdefault("maxItems", LIST_LENGTH)
    return schema


def tool_complaint(tool: Tool, known: Known) -> str | None:
    """`check: words` for the first thing wrong with a tool, alone or beside those that exist; None when it is sound."""
    for complaint in judge_tool(tool):
        return f"{complaint.check}: {complaint.words}"
    return known.complaint(tool)

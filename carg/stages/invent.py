"""Tools by a model: a domain's seed becomes services, each service a convention and tools that passed every check.

What is asked depends on the seed and on earlier answers of the same service alone, never on the order in which calls
come home, so a run that is resumed or replayed makes the same tools.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from random import Random

from carg.asking import Ask
from carg.checks import judge_tool
from carg.domains import Seed
from carg.errors import DomainError, RecordError, ReplyError
from carg.fill import fill
from carg.normalising import normalise_schema
from carg.records import Convention, ErrorSpec, Instance, Json, Tool, digest
from carg.schemas import schema_complaints, types_of, walk
from carg.world.conventions import FACTORS, draw_convention
from carg.world.predicates import prove_errors
from carg.world.refusing import SETTLED, instance_of

TOOLS_A_SERVICE = 10
BATCH = 8
"""Tools asked for at a time: more make answers long and alike, fewer repeat the prompt."""
SPARE_ROUNDS = 3
"""Further answers that a service may take to replace tools that were refused."""
TEXT_LENGTH, LIST_LENGTH = 200, 50
"""Bounds given to strings and lists that came without any, so that decoding under the schema ends."""
ALIKE = 0.8
"""Jaccard similarity of word 3-shingles above which two tools are one, as for corpora."""

_CHOSEN = ("syntax", "envelope", "error_shape", "code_style", "id_style", "paging")
"""Factors that a model may choose to suit the product."""


@dataclass(slots=True)
class Invention:
    """What came of a seed. `n_candidates` tools were written; those refused are counted by reason."""

    instances: list[Instance] = field(default_factory=list)
    tools: list[Tool] = field(default_factory=list)
    n_candidates: int = 0
    refused: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class _Service:
    """One service while its tools are being written."""

    name: str
    text: dict[str, Json]
    convention: Convention
    tools: list[Tool] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    n_rounds: int = 0


async def invent_tools(seed: Seed, n_tools: int, ask: Ask, *, run_seed: int = 0, part: int = 0) -> Invention:
    """Services of the seed's domain with `n_tools` tools in all, fewer where the model does not manage.

    `part` tells apart several inventions for one domain. Raises what `ask` raises when even the services fail, or when
    the run must stop.
    """
    services = await _invent_services(seed, n_tools, ask, run_seed, part)
    made = Invention()
    shares = [n_tools // len(services) + (at < n_tools % len(services)) for at in range(len(services))]
    work = [_fill_service(seed, one, share, ask, made) for one, share in zip(services, shares, strict=True)]
    for ended in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(ended, BaseException):
            raise ended
    _drop_alike(services, made)
    for service in services:
        missing = n_tools - sum(len(one.tools) for one in services)
        if missing > 0:
            await _fill_service(seed, service, len(service.tools) + missing, ask, made, beside=services)
    for service in services:
        if service.tools:
            made.tools += service.tools
            instance = instance_of(
                service.tools, service.convention, category=seed.category, held_out=seed.held_out, seed=run_seed
            )
            made.instances.append(instance)
    return made


async def _invent_services(seed: Seed, n_tools: int, ask: Ask, run_seed: int, part: int) -> list[_Service]:
    wanted = min(12, max(1, round(n_tools / TOOLS_A_SERVICE)))
    variables = {
        "title": seed.title,
        "category": seed.category,
        "summary": seed.summary,
        "topics": list(seed.topics),
        "n_services": wanted,
        "factors": {name: list(FACTORS[name]) for name in _CHOSEN},
    }

    def check(value: Json) -> str | None:
        names = [service["name"] for service in value["services"]]
        return None if len(set(names)) == len(names) else "two services have the same name"

    value = await ask("services", variables, sample=run_seed * 1000 + part, check=check)
    suffix = f"_{part + 1}" if part else ""
    return [
        _Service(
            name=text["name"] + suffix,
            text={key: text[key] for key in ("name", "title", "summary", "resources", "operations")},
            convention=_convention(text["convention"], Random(digest("convention", seed.name, text["name"], run_seed))),
        )
        for text in value["services"][:wanted]
    ]


def _convention(chosen: Mapping[str, Json], rng: Random) -> Convention:
    """A convention with the model's choices where they are choices that fit together; the others are drawn."""
    must = dict(SETTLED)
    for name in _CHOSEN:
        if chosen.get(name) in FACTORS[name]:
            try:
                draw_convention(Random(0), must={**must, name: chosen[name]})
            except DomainError:
                continue
            must[name] = str(chosen[name])
    return draw_convention(rng, must=must)


async def _fill_service(
    seed: Seed, service: _Service, n_tools: int, ask: Ask, made: Invention, *, beside: Iterable[_Service] = ()
) -> None:
    """Asks for tools until the service has `n_tools`, or its spare rounds are used up."""
    last = service.n_rounds + -(-max(0, n_tools - len(service.tools)) // BATCH) + SPARE_ROUNDS
    while len(service.tools) < n_tools and service.n_rounds < last:
        wanted = min(BATCH, n_tools - len(service.tools))
        known = [tool for one in (beside or (service,)) for tool in one.tools]
        service.n_rounds += 1
        try:
            offers = await _ask_for_tools(seed, service, wanted, known, ask)
        except ReplyError as fault:
            made.refused["reply"] += 1
            service.complaints.append(fault.message)
            continue
        for tool, complaint in offers:
            made.n_candidates += 1
            if tool is not None and len(service.tools) < n_tools:
                service.tools.append(tool)
            elif complaint:
                made.refused[complaint.partition(":")[0]] += 1
                service.complaints.append(complaint)


async def _ask_for_tools(
    seed: Seed, service: _Service, wanted: int, known: Sequence[Tool], ask: Ask
) -> list[tuple[Tool | None, str]]:
    """(tool, "") for each that is sound, (None, complaint) for the others; asks again when none is."""
    variables = {
        "title": seed.title,
        "summary": seed.summary,
        "service": service.text,
        "documentation": service.convention.documentation,
        "n_tools": wanted,
        "known": "\n".join(f"{tool.name}: {tool.title}" for tool in known) or "none yet",
        "faults": "\n".join(f"- {complaint}" for complaint in service.complaints[-6:]) or "nothing yet",
    }

    judged: list[tuple[Tool | None, str]] = []

    def check(value: Json) -> str | None:
        judged[:] = _judge(seed, service, value, known)
        complaints = [complaint for tool, complaint in judged if tool is None]
        return "; ".join(complaints[:4]) if len(complaints) == len(judged) else None

    await ask("tools", variables, sample=service.n_rounds, check=check)
    return judged


def _judge(seed: Seed, service: _Service, value: Json, known: Sequence[Tool]) -> list[tuple[Tool | None, str]]:
    kept, out = list(known), list[tuple[Tool | None, str]]()
    for raw in value["tools"]:
        try:
            tool = make_tool(raw, domain=seed.name, service=service.name)
        except RecordError as fault:
            out.append((None, f"schema: {raw['name']}: {fault.message}"))
            continue
        complaint = tool_complaint(tool, kept)
        out.append((None, complaint) if complaint else (tool, ""))
        kept += [] if complaint else [tool]
    return out


def make_tool(raw: Mapping[str, Json], *, domain: str, service: str) -> Tool:
    """The Tool that a model described: schemas closed and bounded by rule, error predicates put on trial.

    Raises RecordError when a schema cannot be read, or accepts nothing.
    """
    parameters, returns = _sound(raw["parameters"], parameters=True), _sound(raw["returns"], parameters=False)
    errors = tuple(ErrorSpec(**error) for error in raw["errors"])
    rng = Random(digest("trial", raw["name"], parameters))
    fill(returns, rng)
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
        id_argument=raw["id_argument"],
        id_result=raw["id_result"],
        records_result=raw["records_result"],
        errors=prove_errors(errors, parameters, rng),
        origin="model",
    )
    return replace(tool, id=digest("tool", asdict(tool)))


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


def tool_complaint(tool: Tool, known: Iterable[Tool]) -> str | None:
    """`check: words` for the first thing wrong with a tool, alone or beside those that exist; None when it is sound."""
    for complaint in judge_tool(tool):
        return f"{complaint.check}: {complaint.words}"
    shingles = _shingles(tool)
    for other in known:
        if other.name == tool.name:
            return f"duplicate: {tool.name}: there is a tool of that name"
        both = _shingles(other)
        if len(shingles & both) > ALIKE * len(shingles | both):
            return f"duplicate: {tool.name}: it says nearly the same as {other.name}"
    return None


def _drop_alike(services: Sequence[_Service], made: Invention) -> None:
    """Takes out what two services of a domain both have; the first one keeps it."""
    kept: list[Tool] = []
    for service in services:
        for tool in list(service.tools):
            if complaint := tool_complaint(tool, kept):
                service.tools.remove(tool)
                made.refused[complaint.partition(":")[0]] += 1
            else:
                kept.append(tool)


def _shingles(tool: Tool) -> frozenset[tuple[str, ...]]:
    named = [tool.name.replace("_", " "), tool.description, *tool.parameters.get("properties", ())]
    words = " ".join(named).lower().split()
    return frozenset(zip(words, words[1:], words[2:], strict=False))

"""Tools by a model: a domain's seed becomes services, each service a convention and tools that passed every check.

What is asked depends on the seed, on what earlier rounds made for it, and on earlier answers of the same service, never
on the order in which calls come home, so a run that is resumed or replayed makes the same tools.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

import orjson

from carg.asking import Ask
from carg.domains import Seed
from carg.errors import DomainError, ReplyError
from carg.records import Convention, Json, Tool, digest
from carg.stages.candidates import LOOSE, Judged, Known, judge_tools
from carg.world.conventions import FACTORS, draw_convention
from carg.world.refusing import SETTLED

TOOLS_A_SERVICE = 10
MOST_SERVICES = 12
"""Of one answer."""
BATCH = 8
"""Tools asked for at a time: more make answers long and alike, fewer repeat the prompt."""
SPARE_ROUNDS = 3
"""Further answers that a service may take to replace tools that were refused."""
SAMPLE_CHARS = 4000

_CHOSEN = ("syntax", "envelope", "error_shape", "code_style", "id_style", "paging")
"""Factors that a model may choose to suit the product."""


@dataclass(slots=True)
class Invention:
    """What came of a seed. `n_candidates` tools were written; those refused are counted by check, one of each kept."""

    services: list[dict[str, Json]] = field(default_factory=list)
    """New ones, as the model described them."""
    tools: list[Tool] = field(default_factory=list)
    trials: list[tuple[str, ...]] = field(default_factory=list)
    """What the trials of each tool said, in the same order."""
    n_candidates: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    samples: dict[str, Json] = field(default_factory=dict)

    def refuse(self, complaint: str, raw: Json, service: str) -> None:
        """Counts a candidate by the check it failed, and keeps the first of each."""
        check, _, words = complaint.partition(": ")
        self.refused[check] += 1
        text = orjson.dumps(raw).decode()[:SAMPLE_CHARS]
        self.samples.setdefault(check, {"check": check, "words": words, "service": service, "candidate": text})


@dataclass(slots=True)
class Service:
    """One service while its tools are being written; `text` is what the model said of it."""

    text: dict[str, Json]
    convention: Convention
    tools: list[Tool] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    n_rounds: int = 0

    @property
    def name(self) -> str:
        return str(self.text["name"])


@dataclass(slots=True)
class _Work:
    """What is shared while a domain's tools are being written."""

    seed: Seed
    ask: Ask
    part: int
    services: list[Service]
    made: Invention
    trials: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By the id of the tool."""


async def invent_tools(
    seed: Seed, n_tools: int, ask: Ask, *, run_seed: int = 0, part: int = 0, existing: Sequence[Service] = ()
) -> Invention:
    """`n_tools` tools of the seed's domain beyond those that exist, fewer where the model does not manage.

    `part` tells apart several inventions for one domain. Raises what `ask` raises when even the first services fail,
    or when the run must stop.
    """
    before = {tool.id for service in existing for tool in service.tools}
    work = _Work(seed, ask, part, list(existing), Invention())
    new = await _invent_services(work, n_tools, run_seed)
    work.services += new
    grown = new or work.services
    shares = [n_tools // len(grown) + (at < n_tools % len(grown)) for at in range(len(grown))]
    filling = [_fill_service(work, one, share, beside=[one]) for one, share in zip(grown, shares, strict=True)]
    for ended in await asyncio.gather(*filling, return_exceptions=True):
        if isinstance(ended, BaseException):
            raise ended
    _drop_alike(work, before)
    for service in sorted(grown, key=lambda one: len(one.tools)):
        missing = n_tools + len(before) - sum(len(one.tools) for one in work.services)
        if missing > 0:
            await _fill_service(work, service, missing, beside=work.services)
    work.made.services = [service.text for service in new if service.tools]
    work.made.tools = [tool for service in work.services for tool in service.tools if tool.id not in before]
    work.made.trials = [work.trials[tool.id] for tool in work.made.tools]
    return work.made


async def _invent_services(work: _Work, n_tools: int, run_seed: int) -> list[Service]:
    """New services, at least one where there is none yet; none where the model only repeats those that exist."""
    wanted = min(MOST_SERVICES, max(0 if work.services else 1, round(n_tools / TOOLS_A_SERVICE)))
    if not wanted:
        return []
    seed, known = work.seed, work.services
    variables = {
        "title": seed.title,
        "category": seed.category,
        "summary": seed.summary,
        "topics": list(seed.topics),
        "n_services": wanted,
        "known": "\n".join(f"{one.name}: {one.text['title']}" for one in known) or "none yet",
        "factors": {name: list(FACTORS[name]) for name in _CHOSEN},
    }
    new: list[dict[str, Json]] = []

    def check(value: Json) -> str | None:
        new.clear()
        complaints = []
        for text in value["services"]:
            complaint = _repeats(text, [*(one.text for one in known), *new])
            if complaint:
                work.made.refuse(f"service: {complaint}", text, text["name"])
                complaints.append(complaint)
            else:
                new.append(text)
        return None if new else "; ".join(complaints)

    try:
        await work.ask("services", variables, sample=run_seed * 1000 + work.part, check=check)
    except ReplyError:
        if not known:
            raise
        return []
    return [open_service(seed, text, run_seed) for text in new[:wanted]]


def _repeats(text: Mapping[str, Json], known: Iterable[Mapping[str, Json]]) -> str | None:
    """Which service it repeats: by its name, or because it keeps the same records."""
    records = {record["name"] for record in text["resources"]}
    for other in known:
        if other["name"] == text["name"]:
            return f"there is a service {text['name']} already"
        if records == {record["name"] for record in other["resources"]}:
            return f"{text['name']} keeps the same records as {other['name']}"
    return None


def open_service(seed: Seed, text: dict[str, Json], run_seed: int, tools: Iterable[Tool] = ()) -> Service:
    """The service of a model's description, with its convention: the model's choices, the rest drawn."""
    rng = Random(digest("convention", seed.name, text["name"], run_seed))
    return Service(text, _convention(text["convention"], rng), list(tools))


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


async def _fill_service(work: _Work, service: Service, n_more: int, *, beside: Sequence[Service]) -> None:
    """Asks for tools until the service has `n_more`, or its spare rounds are used up; `beside` have those known."""
    wanted_in_all = len(service.tools) + n_more
    last = service.n_rounds + -(-max(0, n_more) // BATCH) + SPARE_ROUNDS
    known = Known(tool for one in beside for tool in one.tools)
    while len(service.tools) < wanted_in_all and service.n_rounds < last:
        wanted = min(BATCH, wanted_in_all - len(service.tools))
        service.n_rounds += 1
        listed = [f"{tool.name}: {tool.title}" for one in beside for tool in one.tools]
        try:
            judged = await _ask_for_tools(work, service, wanted, listed, known)
        except ReplyError as fault:
            work.made.refused["reply"] += 1
            service.complaints.append(fault.message)
            continue
        for tool, _, trials, _ in judged:
            if tool is not None and len(service.tools) < wanted_in_all:
                service.tools.append(tool)
                known.add(tool)
                work.trials[tool.id] = trials


async def _ask_for_tools(
    work: _Work, service: Service, wanted: int, listed: Sequence[str], known: Known
) -> list[Judged]:
    """Candidates as they were judged; asks again when none of an answer is sound."""
    text = {key: service.text[key] for key in ("name", "title", "summary", "resources", "operations")}
    variables = {
        "title": work.seed.title,
        "summary": work.seed.summary,
        "service": text,
        "documentation": service.convention.documentation,
        "n_tools": wanted,
        "known": "\n".join(listed) or "none yet",
        "faults": "\n".join(f"- {complaint}" for complaint in service.complaints[-6:]) or "nothing yet",
    }
    judged: list[Judged] = []

    def check(value: Json) -> str | None:
        judged[:] = judge_tools(value["tools"], work.seed.name, service.name, known)
        work.made.n_candidates += len(judged)
        refused = [item for item in judged if item.tool is None]
        for item in refused:
            work.made.refuse(item.complaint, item.raw, service.name)
            service.complaints.append(item.complaint)
        return "; ".join(item.complaint for item in refused[:4]) if len(refused) == len(judged) else None

    await work.ask("tools", variables, sample=1000 * work.part + service.n_rounds, accept=LOOSE, check=check)
    return judged


def _drop_alike(work: _Work, before: set[str]) -> None:
    """Takes out what two services of a domain both have; what existed before stays, else the first one keeps it."""
    kept = Known(tool for service in work.services for tool in service.tools if tool.id in before)
    for service in work.services:
        for tool in [tool for tool in service.tools if tool.id not in before]:
            if complaint := kept.complaint(tool):
                service.tools.remove(tool)
                work.made.refuse(complaint, {"name": tool.name, "description": tool.description}, service.name)
            else:
                kept.add(tool)

"""The world road of `expand` and `generate`: tools, instances, openings and sessions from executable worlds.

No journal: a part is made whole or not at all, and everything in it follows from the seed and the part's instances.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from carg.domains import Seed
from carg.errors import ConfigError, DomainError
from carg.parallel import map_parts
from carg.records import Convention, Instance, Opening, Session, Tool, digest
from carg.scene import open_book
from carg.store import parts, read_records, run_digest, write_part
from carg.world.conventions import draw_convention, make_convention
from carg.world.definitions import tool_record
from carg.world.dialogues import draw_sessions
from carg.world.load import load_world
from carg.world.model import Operation, World
from carg.world.openings import grow_opening
from carg.world.presenting import Surface
from carg.world.replay import know_copies, service_of
from carg.world.rows import draw_singles

AUTHORED_LEAST = 0.4
"""At least this share of a world's chosen tools are actions, formulas and tables."""
INSTANCES_PER_PART = 4
SESSION_SHARE = 0.3
"""Of exchanges, as in the design."""
NEUTRAL = {
    "syntax": "openai",
    "tool_case": "snake",
    "field_case": "snake",
    "nesting": "flat",
    "media": "json",
    "envelope": "bare",
    "code_style": "snake",
    "nulls": "explicit",
    "auth": "none",
    "id_style": "prefixed_sequence",
    "time_style": "iso_z",
    "date_style": "iso",
    "number_style": "plain",
    "paging": "limit_offset",
    "page_words": "short",
    "list_words": "items/total",
    "terseness": "full",
    "embed": "ids",
}
"""The convention under which Tool records are written; instances have their own."""


@dataclass(frozen=True, slots=True)
class MadeReport:
    """What a stage made: records by type, their digest, and counts worth showing."""

    records: dict[str, int]
    digest: str
    counts: dict[str, int]


def worlds_of(seeds: Sequence[Seed]) -> list[World]:
    """The worlds among the domains. Raises ConfigError where there is none, DomainError with all faults of all."""
    worlds, faults = [], list[DomainError]()
    for seed in seeds:
        try:
            worlds += [load_world(seed.path)] if seed.has_world else []
        except DomainError as fault:
            faults.append(fault)
    if faults:
        raise DomainError(
            "\n".join(fault.message for fault in faults), "`carg domains check FILE` judges one; see domains/README.md"
        )
    if not worlds:
        raise ConfigError(
            "none of these domains has a world", "take others (carg domains list), or an LLM: --backend MODEL"
        )
    return worlds


def expand_by_world(
    folder: Path, seeds: Sequence[Seed], n_tools: int | None, n_instances: int, seed: int
) -> MadeReport:
    """`tools` and `instances` part files: n_tools in all, shared fairly over the worlds (None: all that they hold),
    and `n_instances` conventions for each service. Raises ConfigError where the worlds hold fewer."""
    worlds = worlds_of(seeds)
    shares = share_fairly([len(world.operations) for world in worlds], n_tools)
    tools: list[Tool] = []
    instances: list[Instance] = []
    for world, share in zip(worlds, shares, strict=True):
        made = [tool_record(neutral_surface(world), operation) for operation in choose_operations(world, share, seed)]
        tools += made
        instances += draw_instances(world, made, n_instances, seed)
    write_part(folder, "tools", 0, tools)
    write_part(folder, "instances", 0, instances)
    ids = {"tools": [tool.id for tool in tools], "instances": [instance.id for instance in instances]}
    authored = sum(
        tool.binding is not None and tool.binding["kind"] in ("action", "compute", "table") for tool in tools
    )
    counts = {"worlds": len(worlds), "authored": authored, "services": len({(i.domain, i.service) for i in instances})}
    return MadeReport({name: len(keys) for name, keys in ids.items()}, run_digest(ids), counts)


def share_fairly(sizes: Sequence[int], total: int | None) -> list[int]:
    """How many each gives of `total`: equal shares, what one lacks taken from the others. ConfigError if too few."""
    if total is None:
        return list(sizes)
    if total > sum(sizes):
        raise ConfigError(
            f"{total} tools were asked for, but these {len(sizes)} worlds hold {sum(sizes)}",
            f"ask for {sum(sizes)} or fewer, or let an LLM make more: --backend MODEL",
        )
    shares = [0] * len(sizes)
    left = total
    while left:
        open_places = [place for place, size in enumerate(sizes) if shares[place] < size]
        each = max(1, left // len(open_places))
        for place in open_places:
            step = min(each, sizes[place] - shares[place], left)
            shares[place] += step
            left -= step
    return shares


def choose_operations(world: World, share: int, seed: int) -> list[Operation]:
    """So many of the world's operations, enough of them authored, in the order of the file."""
    ordered = sorted(world.operations.values(), key=lambda item: digest("choose", seed, world.name, item.name))
    authored = [item for item in ordered if item.authored]
    least = min(len(authored), -int(-share * AUTHORED_LEAST // 1))
    chosen = authored[:least]
    chosen += [item for item in ordered if item not in chosen][: share - len(chosen)]
    names = {item.name for item in chosen}
    return [item for item in world.operations.values() if item.name in names]


def neutral_surface(world: World) -> Surface:
    """The surface of Tool records: plain names, ISO dates, the usual knobs."""
    drawn = draw_convention(Random(0), must={"syntax": "openai"})
    convention: Convention = make_convention({**drawn.factors, **NEUTRAL})
    instance = Instance("", world.name, world.category, next(iter(world.services)), 0, convention, ())
    surface = Surface(world, instance)
    surface.ref_suffix, surface.unit_suffix = "_id", False
    return surface


def draw_instances(world: World, tools: Sequence[Tool], n_instances: int, seed: int) -> list[Instance]:
    """`n_instances` draws of each service that has tools: convention, knobs, and the seed of the definitions."""
    made = []
    for service in world.services.values():
        own = [tool for tool in tools if tool.service == service.name]
        for number in range(n_instances if own else 0):
            key = digest("instance", seed, world.name, service.name, number)
            rng = Random(key)
            instance = Instance(
                id="",
                domain=world.name,
                category=world.category,
                service=service.name,
                seed=int(key[:8], 16),
                convention=draw_convention(rng, never=service.never, must=service.must),
                tools=tuple(tool.id for tool in own),
                operations=tuple(tool.name for tool in own),
                knobs={
                    name: knob.values[0] if rng.random() < 0.4 else rng.choice(knob.values)
                    for name, knob in world.knobs.items()
                },
                domain_digest=world.digest,
                held_out=world.held_out,
            )
            made.append(replace(instance, id=digest("instance", instance)))
    return made


# Generate -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Portion:
    """One part of `generate`: which instances, and how many exchanges each is to have."""

    run: Path
    number: int
    instances: tuple[Instance, ...]
    budget: int
    seed: int
    stem: str = "sessions"
    """Name of the part files; truths that a model's answers are to be compared with have their own."""


def generate_by_world(
    run: Path,
    n_exchanges: int,
    seed: int,
    *,
    width: int | None = None,
    stem: str = "sessions",
    on_part: Callable[[Counter[str]], None] = lambda _counts: None,
) -> MadeReport:
    """`sessions` and `openings` part files with about `n_exchanges` exchanges over the run's instances.

    Parts that are there are kept, so that the same call goes on after a kill. `on_part` gets the counts of each.
    """
    instances = [item for item in open_book(run).instances.values() if item.operations]
    if not instances:
        raise ConfigError(
            "no instance of this run has a world behind it", "name the model that answers: --backend MODEL"
        )
    budget = max(4, -(-n_exchanges // len(instances)))
    portions = [
        Portion(run, number, tuple(instances[at : at + INSTANCES_PER_PART]), budget, seed, stem)
        for number, at in enumerate(range(0, len(instances), INSTANCES_PER_PART))
    ]
    total: Counter[str] = Counter()
    for counts in map_parts(make_portion, portions, width=width):
        total.update(counts)
        on_part(counts)
    return _report(run, total, stem)


def _report(run: Path, total: Counter[str], stem: str) -> MadeReport:
    folder = run / "generate"
    ids: dict[str, list[str]] = {stem: [], "openings": []}
    for path in parts(folder, stem):
        ids[stem] += [line.id for line in read_records(Session, path)]
    for path in parts(folder, "openings"):
        ids["openings"] += [line.id for line in read_records(Opening, path)]
    records = {name: len(keys) for name, keys in ids.items()}
    return MadeReport({**records, "exchanges": total["exchanges"]}, run_digest(ids), dict(sorted(total.items())))


def make_portion(portion: Portion) -> Counter[str]:
    """Make one part, unless it is there; what it counts."""
    folder = portion.run / "generate"
    done = folder / f"{portion.stem}-{portion.number:05d}.jsonl"
    if done.exists():
        return _count(read_records(Session, done))
    know_copies(portion.run / "expand" / "domains")
    openings: list[Opening] = []
    sessions: list[Session] = []
    for instance in portion.instances:
        made = make_sessions(instance, portion.budget, portion.seed)
        openings.append(made[0])
        sessions += made[1]
    write_part(folder, "openings", portion.number, openings)
    write_part(folder, portion.stem, portion.number, sessions)
    return _count(sessions)


def make_sessions(instance: Instance, budget: int, seed: int) -> tuple[Opening, list[Session]]:
    """An opening of the instance and sessions of about `budget` exchanges from it."""
    service = service_of(instance)
    rng = Random(digest("generate", seed, instance.id))
    opening = grow_opening(service.setting, instance, seed)
    talks = draw_sessions(service, opening, rng, round(budget * SESSION_SHARE))
    left = budget - sum(len(session.exchanges) for session in talks)
    return opening, talks + draw_singles(service, opening, rng, left)


def _count(sessions: Iterable[Session]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for session in sessions:
        counts.update(
            {"sessions": 1, "exchanges": len(session.exchanges), f"kind/{session.kind}": len(session.exchanges)}
        )
        counts["supervised"] += sum(exchange.train for exchange in session.exchanges)
        counts["invalid"] += sum(exchange.call.label == "invalid" for exchange in session.exchanges)
    return counts

"""`expand` on the LLM road: rounds over the domains until as many sound tools are there as were asked for.

A round asks each domain for what it lacks, aware of what it has; then the tools of all domains are laid side by side,
and what says nearly the same as an earlier one is dropped. Rounds end when the number is reached; when two gain
nothing, or the budget of candidates is used up, what is missing is told. The caller holds the lock.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from carg.asking import Ask
from carg.checks.corpus import Buckets, sign_tool
from carg.domains import Seed
from carg.encoding import build
from carg.errors import ConfigError
from carg.records import Instance, Json, Tool
from carg.runner import Outcome, Outcomes, run_slots
from carg.stages.by_model import OnDone, Report, Road, open_road, show_asking
from carg.stages.candidates import ALIKE
from carg.stages.invent import Service, invent_tools, open_service
from carg.store import run_digest, write_part
from carg.world.refusing import instance_of

ROUNDS = 6
CANDIDATES = 5
"""For each tool that is wanted, at most so many are written; a model that needs more will not get there."""
N_SAMPLES = 10
"""Refused candidates that are kept to be looked at, of each check."""


@dataclass(slots=True)
class _Corpus:
    """What the rounds came to so far."""

    slots: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Names of slots by domain, in order."""
    kept: Counter[str] = field(default_factory=Counter)
    """Tools by domain."""
    dropped: set[str] = field(default_factory=set)
    refused: Counter[str] = field(default_factory=Counter)
    trials: Counter[str] = field(default_factory=Counter)
    samples: dict[str, list[Json]] = field(default_factory=lambda: defaultdict(list))
    n_candidates: int = 0
    idle: int = 0
    """Rounds in a row that gained nothing."""
    alike: Buckets = field(default_factory=partial(Buckets, ALIKE))

    @property
    def names(self) -> list[str]:
        return [name for names in self.slots.values() for name in names]

    def take(self, outcome: Outcome) -> None:
        """Takes up a slot that ended: its tools, unless an earlier one says nearly the same."""
        self.n_candidates += outcome.n_candidates
        records = outcome.records
        for tool, trials in zip(records.get("tools", ()), records.get("trials", ()), strict=True):
            signature = sign_tool(build(Tool, tool))
            if like := self.alike.find(signature):
                self.dropped.add(tool["id"])
                self._refuse("duplicate", {"words": f"{tool['name']}: much like {like}", "candidate": tool})
                continue
            self.alike.put(signature)
            self.kept[tool["domain"]] += 1
            self.trials.update(trials)
        for counts in records.get("refused", ()):
            self.refused.update(counts)
        for sample in records.get("samples", ()):
            self._sample(sample["check"], sample)

    def _refuse(self, check: str, sample: dict[str, Json]) -> None:
        self.refused[check] += 1
        self._sample(check, {"check": check, **sample})

    def _sample(self, check: str, sample: Json) -> None:
        if len(self.samples[check]) < N_SAMPLES:
            self.samples[check].append(sample)


async def expand_by_model(
    folder: Path, seeds: Sequence[Seed], n_tools: int, road: Road, *, on_done: OnDone = lambda _name, _outcome: None
) -> Report:
    """`tools`, `instances` and `refused` part files with `n_tools` tools over the seeds; `missing` says how many not.

    Call it again after TryLater, a kill or a crash: what is stored is neither made nor paid for again.
    """
    if not seeds:
        raise ConfigError("no domains to invent tools for", "name some with --domains")
    corpus = _Corpus()
    async with open_road(road, folder) as (asks, outcomes):

        async def make(named: tuple[str, Seed, int, int]) -> Outcome:
            name, seed, share, turn = named
            existing = _services(seed, outcomes, corpus.slots[seed.name], road.seed)
            part = turn + ROUNDS * outcomes.lap(name)
            return await _invent(seed, share, asks[road.pick(name)], road.seed, part, existing)

        def store(name: str, outcome: Outcome) -> None:
            outcomes.store(name, outcome)
            on_done(name, outcome)

        for turn in range(ROUNDS):
            shares = _share(seeds, n_tools, corpus, turn)
            if not shares or corpus.idle > 1 or corpus.n_candidates >= CANDIDATES * n_tools:
                break
            slots = {_name(seed, share, turn): (seed, share, turn) for seed, share in shares}
            waiting = ((name, (name, *slot)) for name, slot in slots.items() if name not in outcomes)
            await run_slots(waiting, make, width=road.width, on_done=store)
            before = corpus.kept.total()
            for name, outcome in zip(slots, outcomes.read(slots), strict=True):
                corpus.slots[slots[name][0].name].append(name)
                corpus.take(outcome)
            corpus.idle = 0 if corpus.kept.total() > before else corpus.idle + 1
        return _write(folder, seeds, n_tools, road, corpus, outcomes, show_asking(asks))


def _name(seed: Seed, share: int, turn: int) -> str:
    # What is missing depends on how earlier slots end, and may change when they are tried again.
    return f"{seed.name}/{turn}" + (f"/{share}" if turn else "")


def _share(seeds: Sequence[Seed], n_tools: int, corpus: _Corpus, turn: int) -> list[tuple[Seed, int]]:
    """How many more tools each domain is to make: its own part first, later what others could not make."""
    missing = n_tools - corpus.kept.total()
    if turn < 2:
        parts = _parts(n_tools, len(seeds))
        wanted = [part - corpus.kept[seed.name] for seed, part in zip(seeds, parts, strict=True)]
    else:
        able = [bool(corpus.kept[seed.name]) for seed in seeds]
        if not any(able):
            able = [True] * len(seeds)
        rest = iter(_parts(missing, sum(able)))
        wanted = [next(rest) if one else 0 for one in able]
    return [(seed, number) for seed, number in zip(seeds, wanted, strict=True) if number > 0]


def _parts(whole: int, number: int) -> list[int]:
    return [whole // number + (at < whole % number) for at in range(number)]


async def _invent(seed: Seed, share: int, ask: Ask, run_seed: int, part: int, existing: Sequence[Service]) -> Outcome:
    made = await invent_tools(seed, share, ask, run_seed=run_seed, part=part, existing=existing)
    records: dict[str, list[Json]] = {
        "tools": [*made.tools],
        "trials": [list(trials) for trials in made.trials],
        "services": made.services,
        "refused": [dict(made.refused)],
        "samples": [{**sample, "domain": seed.name} for sample in made.samples.values()],
    }
    if not made.tools:
        return Outcome("rejected", records, "no tool passed the checks", made.n_candidates)
    return Outcome("accepted", records, "", made.n_candidates)


def _services(seed: Seed, outcomes: Outcomes, names: Sequence[str], run_seed: int) -> list[Service]:
    """The services of a domain with all tools that were made for them, those that were dropped as alike too."""
    found: dict[str, Service] = {}
    for outcome in outcomes.read(names):
        for text in outcome.records.get("services", ()):
            found.setdefault(text["name"], open_service(seed, text, run_seed))
        for tool in outcome.records.get("tools", ()):
            found[tool["service"]].tools.append(build(Tool, tool))
    return list(found.values())


def _write(
    folder: Path,
    seeds: Sequence[Seed],
    n_tools: int,
    road: Road,
    corpus: _Corpus,
    outcomes: Outcomes,
    asking: dict[str, dict[str, Json]],
) -> Report:
    instances: list[Instance] = []
    ids: dict[str, list[str]] = {"tools": [], "instances": []}

    def tools() -> Iterator[Tool]:
        for seed in seeds:
            for service in _services(seed, outcomes, corpus.slots[seed.name], road.seed):
                kept = [tool for tool in service.tools if tool.id not in corpus.dropped]
                if kept:
                    yield from kept
                    ids["tools"] += [tool.id for tool in kept]
                    about = partial(instance_of, category=seed.category, held_out=seed.held_out, seed=road.seed)
                    instances.append(about(kept, service.convention))

    write_part(folder, "tools", 0, tools())
    write_part(folder, "instances", 0, instances)
    write_part(folder, "refused", 0, [sample for _, found in sorted(corpus.samples.items()) for sample in found])
    ids["instances"] = [instance.id for instance in instances]
    counts = {stem: len(found) for stem, found in ids.items()}
    if missing := n_tools - counts["tools"]:
        counts["missing"] = missing
    return Report(
        outcomes.tally(corpus.names),
        counts,
        run_digest(ids),
        dict(corpus.refused.most_common()),
        asking,
        dict(outcomes.unusable(corpus.names)),
        {**corpus.trials, "effect refused": corpus.refused["effect"]},
    )

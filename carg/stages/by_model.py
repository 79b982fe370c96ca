"""The LLM road of `expand` and `generate`: slots over domains and instances, answered by a model, stored as they end.

A stage folder holds `replies.jsonl` (every raw reply), `slots.jsonl` (how each slot ended, with its records) and, when
all is done, the same part files that the world road writes. The caller holds the lock and writes the manifest.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import TypeVar

from carg.asking import Ask, Budget, Counts
from carg.backends import open_backend
from carg.config import Asking, sampling_of, shares_of, split_address
from carg.console import show_live
from carg.errors import ConfigError, StoreError
from carg.journal import Journal
from carg.ledger import store_spent
from carg.pacing import Pace
from carg.records import Instance, Json, Session, Tool, digest
from carg.runner import Outcome, Outcomes, Tally, run_slots
from carg.stages.answer import write_session, write_singles
from carg.stages.queries import QUERIES_A_SLOT, write_queries
from carg.stages.whole import write_whole
from carg.store import run_digest, write_part

ROUNDS = 3
"""Times that what is missing after filters is asked for again, from other domains or instances."""
OPEN_SLOTS = 4
"""Slots under way for each call in flight: a slot that waits for Retry-After must not idle the server."""
CALLS_A_SINGLE = 6
SESSION_SHARE = 0.3
"""Of exchanges."""
SESSION_LENGTH = (2, 12)
NOTE_EVERY_S = 10.0
"""How often a visit notes what it spent, so that `carg status` has little to read."""
LAP = 1_000_000_000
"""Between the seeds of a slot's questions and those it asks when these could not be used."""


@dataclass(frozen=True, slots=True)
class Road:
    """Which models answer, and what they may cost. What changes the records is the `fingerprint`."""

    backend: str
    api_base: str | None = None
    shares: Mapping[str, float] = field(default_factory=dict)
    """Further models and their shares of the slots; `backend` has what is left of 1. A slot keeps to its model."""
    sampling: Mapping[str, Json] = field(default_factory=dict)
    seed: int = 0
    width: int = 32
    """Calls in flight."""
    timeout_s: float = 300.0
    tries: int = 6
    rpm: float | None = None
    tpm: float | None = None
    """Requests and tokens a minute that each model allows."""
    budget: Budget = field(default_factory=Budget)
    max_failed: float = 0.1
    """Share of slots that may fail before the stage is said to have failed."""
    retry_failed: bool = False
    """Try the slots again that ended as failed."""
    session_mode: str = "stepwise"
    """How sessions are written: stepwise, a question for each call and answer; or whole, one for all of a session."""
    n_queries: int = 0
    """Queries of people that `generate` writes besides."""

    @property
    def fingerprint(self) -> dict[str, Json]:
        """The settings that change the records; widths, budgets and addresses do not."""
        shares: dict[str, Json] = {}
        for model, share in self.shares.items():
            name = split_address(model)[0]
            shares[name] = shares.get(name, 0.0) + share
        found = {"backend": split_address(self.backend)[0], "shares": shares, "seed": self.seed}
        found["sampling"] = dict(self.sampling)
        given = {"session_mode": self.session_mode, "queries": self.n_queries}
        return found | {name: value for name, value in given.items() if value not in ("stepwise", 0)}

    def pick(self, slot: str) -> str:
        """The model that a slot belongs to, by the digest of its name."""
        spot = Random(digest("model", self.seed, slot)).random()
        for model, share in self.shares.items():
            if spot < share:
                return model
            spot -= share
        return self.backend


@dataclass(frozen=True, slots=True)
class Report:
    """What a stage came to: slots, records by type, their digest, and what each prompt cost."""

    slots: Tally
    records: dict[str, int]
    digest: str
    refused: dict[str, int]
    """Candidates refused on the way, by reason."""
    asking: dict[str, dict[str, Json]]
    """Counts by "prompt, model", of this visit."""
    unusable: dict[str, int]
    """Answers that were not taken, by reason, over all visits."""
    trials: dict[str, int] = field(default_factory=dict)
    """What the trials of effects and predicates said of the tools that were kept: "predicate believed"."""


def road_of(asking: Asking, seed: int, *, retry_failed: bool = False) -> Road:
    """The road that settings name. Raises ConfigError for shares that do not make 1."""
    first, *others = shares_of(asking.backend).items()
    return Road(
        first[0],
        api_base=asking.api_base,
        shares=dict(others),
        sampling=sampling_of(asking),
        seed=seed,
        width=asking.width,
        timeout_s=asking.timeout,
        rpm=asking.rpm,
        tpm=asking.tpm,
        budget=Budget(asking.max_cost, asking.max_tokens, asking.max_minutes),
        max_failed=asking.max_failed,
        retry_failed=retry_failed,
    )


Slot = TypeVar("Slot")
OnDone = Callable[[str, Outcome], None]


async def generate_by_model(
    folder: Path,
    instances: Sequence[Instance],
    tools: Iterable[Tool],
    n_exchanges: int,
    road: Road,
    *,
    on_done: OnDone = lambda _name, _outcome: None,
) -> Report:
    """`sessions` part files with at least `n_exchanges` exchanges: single calls, and sessions of 2 to 12 exchanges.

    And `queries` part files with about as many as the road says.

    Call it again after TryLater, a kill or a crash: what is stored is neither made nor paid for again.
    """
    by_id = {tool.id: tool for tool in tools}
    if not instances:
        raise ConfigError("no instances to call", "run `carg expand` first")

    def plan(turn: int, done: Mapping[str, int]) -> Iterator[tuple[str, tuple[str, Instance, int]]]:
        missing = n_exchanges - done["exchanges"]
        mean = sum(SESSION_LENGTH) / 2
        n_slots = {"single": missing * (1 - SESSION_SHARE) / CALLS_A_SINGLE, "session": missing * SESSION_SHARE / mean}
        n_slots["query"] = (road.n_queries - done["queries"]) / QUERIES_A_SLOT
        for kind, wanted in n_slots.items():
            for at in range(max(0, -int(-wanted // 1))):
                lap, place = divmod(at, len(instances))
                seed = (road.seed * ROUNDS + turn) * 1_000_000 + lap
                yield f"{kind}/{turn}/{lap}/{instances[place].id}", (kind, instances[place], seed)

    async def make(ask: Ask, slot: tuple[str, Instance, int], lap: int) -> Outcome:
        kind, instance, seed = slot
        offered = [by_id[name] for name in instance.tools]
        if kind == "query":
            queries = await write_queries(instance, offered, ask, seed=seed + lap * LAP)
            return Outcome("accepted", {"queries": [*queries]}, n_candidates=len(queries))
        session = await _write(road.session_mode, kind, instance, offered, ask, seed + lap * LAP)
        return Outcome("accepted", {"sessions": [session]}, n_candidates=len(session.exchanges))

    stems = ("sessions", "queries") if road.n_queries else ("sessions",)
    return await _run(folder, road, plan, make, stems, on_done)


async def _write(mode: str, kind: str, instance: Instance, tools: Sequence[Tool], ask: Ask, seed: int) -> Session:
    if kind == "single":
        return await write_singles(instance, tools, ask, seed=seed, n_calls=CALLS_A_SINGLE)
    length = Random(digest("length", instance.id, seed)).randint(*SESSION_LENGTH)
    write = write_whole if mode == "whole" else write_session
    return await write(instance, tools, ask, seed=seed, n_exchanges=length)


async def _run(
    folder: Path,
    road: Road,
    plan: Callable[[int, Mapping[str, int]], Iterator[tuple[str, Slot]]],
    make: Callable[[Ask, Slot, int], Awaitable[Outcome]],
    stems: Sequence[str],
    on_done: OnDone,
) -> Report:
    """Rounds of slots until nothing is missing; what a round plans follows from what is stored, so a resume agrees."""
    async with open_road(road, folder) as (asks, outcomes):

        async def make_one(named: tuple[str, Slot]) -> Outcome:
            return await make(asks[road.pick(named[0])], named[1], outcomes.lap(named[0]))

        def store(name: str, outcome: Outcome) -> None:
            outcomes.store(name, outcome)
            on_done(name, outcome)

        names: list[str] = []
        for turn in range(ROUNDS):
            slots = dict(plan(turn, _count(outcomes, names)))
            names += slots
            waiting = ((name, (name, slot)) for name, slot in slots.items() if name not in outcomes)
            await run_slots(waiting, make_one, width=road.width * OPEN_SLOTS, on_done=store)
        ids = {stem: [record["id"] for record in records_of(outcomes, names, stem)] for stem in stems}
        for stem in stems:
            write_part(folder, stem, 0, records_of(outcomes, names, stem))
        counted = {stem: len(ids[stem]) for stem in stems}
        unusable = outcomes.unusable(names)
        return Report(outcomes.tally(names), counted, run_digest(ids), {}, show_asking(asks), dict(unusable))


def show_asking(asks: Mapping[str, Ask]) -> dict[str, dict[str, Json]]:
    """What asking took on this visit, by "prompt, model"."""
    ledger = next(iter(asks.values())).ledger
    return {f"{prompt}, {model}": asdict(counts) for (prompt, model), counts in sorted(ledger.items())}


def records_of(outcomes: Outcomes, names: Iterable[str], stem: str) -> Iterator[Json]:
    for outcome in outcomes.read(names):
        yield from outcome.records.get(stem, ())


def _count(outcomes: Outcomes, names: Iterable[str]) -> Counter[str]:
    """Records of each type that are stored, and exchanges."""
    counts: Counter[str] = Counter()
    for outcome in outcomes.read(names):
        for stem, records in outcome.records.items():
            counts[stem] += len(records)
        counts["exchanges"] += sum(len(session["exchanges"]) for session in outcome.records.get("sessions", ()))
    return counts


@contextlib.asynccontextmanager
async def open_road(road: Road, folder: Path) -> AsyncIterator[tuple[dict[str, Ask], Outcomes]]:
    """An Ask for each model and the outcomes in a stage folder; the journal is summed up when the block ends."""
    async with open_asks(road, folder) as asks:
        with contextlib.closing(Journal(folder / "slots.jsonl")) as journal:
            outcomes = Outcomes(journal)
            if road.retry_failed:
                outcomes.owe_failed()
            yield asks, outcomes


@contextlib.asynccontextmanager
async def open_asks(road: Road, folder: Path) -> AsyncIterator[dict[str, Ask]]:
    """An Ask for each model; what they cost is summed up when the block ends."""
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(store_spent, folder)
        asks = await _open_asks(road, folder, stack)
        stack.callback(asyncio.create_task(_note_spent(folder)).cancel)
        show_live(lambda: _tell_live(asks))
        yield asks


def _tell_live(asks: Mapping[str, Ask]) -> str:
    """Calls of this visit, how many are in flight, and what they cost."""
    spent = list(next(iter(asks.values())).ledger.values())
    paid, cost = sum(counts.paid for counts in spent), sum(counts.cost for counts in spent)
    busy = sum(ask.gate.busy for ask in asks.values())
    dollars = f", ${cost:,.4g}" if cost else ""
    return f"{paid:,} calls, {busy} in flight{dollars}"


async def _note_spent(folder: Path) -> None:
    while True:
        with contextlib.suppress(StoreError):
            store_spent(folder)
        await asyncio.sleep(NOTE_EVERY_S)


async def _open_asks(road: Road, folder: Path, stack: contextlib.AsyncExitStack) -> dict[str, Ask]:
    """One Ask a model; they share journal and ledger, so that a budget is one budget."""
    if not 0 <= sum(road.shares.values()) <= 1 or min(road.shares.values(), default=0) < 0:
        raise ConfigError(f"shares of models {dict(road.shares)} are no shares", "each from 0 to 1, at most 1 together")
    journal = stack.enter_context(Journal(folder / "replies.jsonl"))
    ledger: dict[tuple[str, str], Counts] = {}
    asks = {}
    for model in (road.backend, *road.shares):
        pace = Pace(road.rpm, road.tpm)
        asks[model] = Ask(
            await stack.enter_async_context(open_backend(model, api_base=road.api_base, pace=pace)),
            journal,
            split_address(model)[0],
            sampling=road.sampling,
            width=road.width,
            budget=road.budget,
            tries=road.tries,
            timeout_s=road.timeout_s,
            pace=pace,
            ledger=ledger,
        )
    return asks

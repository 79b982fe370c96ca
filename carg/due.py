"""`carg run`: the stages of a config that are due, walked in order; safe to call at any moment, and twice at once.

A stage knows itself what is done, so nothing is planned here: each is called, and says that it was done already, or
goes on where it was stopped. What is added: one lock over all stages, a clock, and money counted over all visits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from carg.config import STAGES, Asking, Config
from carg.console import Screen
from carg.errors import TryLater
from carg.ledger import read_run, sum_up
from carg.made import Made, check_failures, check_missing
from carg.pipeline import OnCount, expand, filter_sessions, generate
from carg.records import digest
from carg.store import is_done, locked, read_manifest, set_aside, unfinish, write_manifest

LOCK = ".run.lock"
"""Beside the lock of the stages: a stage takes that one while this one is held."""


Number = TypeVar("Number", int, float)


@dataclass(frozen=True, slots=True)
class Visit:
    """One call of `carg run`. `until` is of time.monotonic."""

    config: Config
    screen: Screen
    until: float
    retry_failed: bool = False

    @property
    def minutes_left(self) -> float:
        """Until the visit ends."""
        return (self.until - time.monotonic()) / 60

    def watch(self, advance: OnCount) -> OnCount:
        """`advance`, which raises TryLater once the time is up: a world's stage keeps the parts it has made."""

        def on_count(count: int) -> None:
            advance(count)
            self.stop_if_late()

        return on_count

    def stop_if_late(self) -> None:
        """Raises TryLater when the time is up."""
        if self.minutes_left <= 0:
            raise TryLater(
                f"[run] minutes {self.config.run.minutes:g} are over", "the same command goes on where it stopped"
            )


def run_due(config: Config, screen: Screen, *, retry_failed: bool = False, fresh: bool = False) -> Iterator[Made]:
    """Each stage of the config when it is done, in order; `fresh` sets the whole run aside first.

    Raises TryLater when another call is at work, the time is up or a budget is spent; TooManyFailures after a stage in
    which too many slots failed, on every call until --retry-failed mends it or max-failed allows it; and at the end,
    when tools are missing: the later stages make the best of those that are there.
    """
    minutes = config.run.minutes
    until = math.inf if minutes is None else time.monotonic() + 60 * minutes
    visit = Visit(config, screen, until, retry_failed)
    done: list[Made] = []
    if fresh and config.folder.exists():
        with locked(config.folder, LOCK), locked(config.folder):
            screen.note(f"the old run is {set_aside(config.folder)} now")
    with locked(config.folder, LOCK):
        for stage in STAGES:
            settings = getattr(config, stage)
            if settings is None:
                continue
            made = _STAGES[stage](visit)
            yield made
            done.append(made)
            if stage in ("expand", "generate"):
                check_failures(made, settings.asking.max_failed)
        for made in done:
            check_missing(made)


def _expand(visit: Visit) -> Made:
    settings, run = visit.config.expand, visit.config.run
    assert settings is not None
    with visit.screen.progress("expand", settings.tools, "tools") as advance:
        return expand(
            visit.config.folder,
            domains=settings.domains,
            n_tools=settings.tools,
            n_instances=settings.instances,
            seed=run.seed,
            road=_road(visit, "expand", settings.asking),
            on_count=visit.watch(advance),
        )


def _generate(visit: Visit) -> Made:
    settings, run = visit.config.generate, visit.config.run
    assert settings is not None
    with visit.screen.progress("generate", settings.exchanges, "exchanges") as advance:
        return generate(
            visit.config.folder,
            n_exchanges=settings.exchanges,
            seed=run.seed,
            session_mode=settings.session_mode,
            n_queries=settings.queries,
            width=settings.workers,
            road=_road(visit, "generate", settings.asking),
            on_count=visit.watch(advance),
        )


def _filter(visit: Visit) -> Made:
    settings, folder = visit.config.filter, visit.config.folder
    assert settings is not None
    sessions = read_manifest(folder / "generate", "generate")["digest"]
    if is_done(folder, "filter") and read_manifest(folder, "filter")["generate"] != sessions:
        unfinish(folder, "filter")
    with visit.screen.progress("filter", None, "exchanges") as advance:
        return filter_sessions(folder, width=settings.workers, on_count=visit.watch(advance))


def _finetune(visit: Visit) -> Made:
    """The manifest that is left in the folder of the run spares later visits from loading data and model."""
    folder = visit.config.folder
    given = dict(visit.config.finetune or {})
    dataset, out = given.pop("dataset", None), given.pop("out", None)
    source = dataset or read_manifest(folder, "filter")["digest"]
    key = digest("finetune", source, out, visit.config.run.seed, given)
    if is_done(folder, "finetune") and (found := read_manifest(folder, "finetune"))["digest"] == key:
        return Made("finetune", found["counts"], key, again=True)
    visit.stop_if_late()
    from carg.training import train

    options = {**given, "seed": visit.config.run.seed}
    where = folder / "dataset" if dataset is None else type(folder)(dataset)
    target = folder / "model" if out is None else type(folder)(out)
    report = train(visit.screen, where, target, until=visit.until, **options)
    counts = {"parameters": report.parameters, "conversations": report.conversations, "steps": report.steps}
    write_manifest(folder, "finetune", {"counts": counts, "digest": key, "loss": report.loss})
    return Made("finetune", counts, key)


_STAGES: dict[str, Callable[[Visit], Made]] = {
    "expand": _expand,
    "generate": _generate,
    "filter": _filter,
    "finetune": _finetune,
}


def _road(visit: Visit, stage: str, asking: Asking) -> Any:
    """The road with what is left of the run's money, tokens and time; None for worlds."""
    if asking.backend == "world":
        return None
    from carg.stages.by_model import road_of

    run, folder = visit.config.run, visit.config.folder
    spent = sum_up(read_run(folder))
    cost_left = None if run.max_cost is None else run.max_cost - spent.cost
    tokens_left = None if run.max_tokens is None else run.max_tokens - spent.tokens_in - spent.tokens_out
    if visit.retry_failed or not is_done(folder / stage, stage):
        visit.stop_if_late()
        for flag, left in (("max-cost", cost_left), ("max-tokens", tokens_left)):
            if left is not None and left <= 0:
                raise TryLater(f"[run] {flag} is spent by all visits together", f"raise {flag} in the config to go on")
    asking = replace(
        asking,
        max_cost=_least(asking.max_cost, cost_left),
        max_tokens=_least(asking.max_tokens, tokens_left),
        max_minutes=_least(asking.max_minutes, None if visit.until == math.inf else visit.minutes_left),
    )
    return road_of(asking, run.seed, retry_failed=visit.retry_failed)


def _least(one: Number | None, other: Number | None) -> Number | None:
    return min((number for number in (one, other) if number is not None), default=None)

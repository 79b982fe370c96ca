"""`carg evaluate`: every backend answers the same items, each after its true history; measures, intervals, one table.

A run's `evaluation/` keeps the replies of models (paid once: the same command goes on where it was stopped) and a file
of answers and verdicts for each backend. Items and controls, verdicts and intervals are in `evaluation`.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from carg import __version__
from carg.config import Asking, sampling_of
from carg.console import show_live
from carg.errors import ConfigError
from carg.evaluation.answering import Answers, OnCount, ask_model, slug
from carg.evaluation.controls import CONTROLS, answer_by_control, is_control
from carg.evaluation.intervals import DRAWS, Estimate, differences, estimate
from carg.evaluation.items import Item, read_items, sizes
from carg.evaluation.verdicts import MEASURES, Verdict, judge
from carg.records import Json, digest
from carg.stats.teacher import kinds_of
from carg.store import locked, write_atomic

LIMIT = 2_000
"""Items of each split."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What is measured on what: backends by name, splits (none: the held-out ones), items of each."""

    backends: tuple[str, ...]
    splits: tuple[str, ...] = ()
    limit: int = LIMIT
    compare: bool = False
    asking: Asking = field(default_factory=Asking)


def evaluate(
    run: Path, dataset: Path, settings: Settings, out: Path, *, on_count: OnCount = lambda _n: None
) -> dict[str, Any]:
    """The report, as it is written to `out`: settings, sizes, and for each backend its measures with intervals.

    Raises ConfigError and StoreError before anything is asked where backends, splits or folders cannot be used, and
    what asking raises (TryLater when a budget is spent: what was answered is kept).
    """
    check_backends(settings)
    items = read_items(run, dataset, settings.splits, settings.limit)
    folder = out.parent / out.stem
    report: dict[str, Any] = {
        "carg": __version__,
        "dataset": str(dataset),
        "items": digest("items", [item.id for item in items]),
        "history": "true answers before each call; the same items for all backends",
        "settings": {"limit": settings.limit, **_told(settings.asking)},
        "sizes": sizes(items),
        "measures": MEASURES,
        "intervals": f"95 %, instances of services drawn again {DRAWS:,} times",
        "backends": {},
    }
    scored: dict[str, list[Verdict]] = {}
    with locked(folder):
        for backend in settings.backends:
            show_live(partial("{}; {:,} answers in all".format, backend, len(items) * len(settings.backends)))
            answers = _answer(backend, items, dataset, folder, settings, on_count)
            scored[backend] = [judge(item, _text(answers, item)) for item in items]
            report["backends"][backend] = _summary(items, scored[backend], answers)
            _write_verdicts(folder / f"{slug(backend)}.jsonl", items, answers, scored[backend])
        if settings.compare:
            report["differences"] = _differences(items, scored)
        write_atomic(out, [orjson.dumps(report, option=orjson.OPT_INDENT_2), b"\n"])
    return report


def check_backends(settings: Settings) -> None:
    """Raises ConfigError, with all faults, for backends that cannot be: no such folder, a control that is none."""
    faults = []
    for backend in settings.backends:
        kind, _, rest = backend.partition(":")
        if kind == "gtm" and not (Path(rest) / "config.json").is_file():
            faults.append(f"--backend {backend}: no model lies there")
        if kind in CONTROLS and not is_control(backend):
            faults.append(f"--backend {backend}: controls are world, twin, twin:SEED, echo, nearest")
    if len(set(settings.backends)) < len(settings.backends):
        faults.append("a backend is named twice")
    if settings.compare and len(settings.backends) < 2:
        faults.append("--compare needs two backends at least")
    if faults:
        raise ConfigError("\n".join(faults), "as in -b world -b gtm:RUN/model -b openai/gpt-5-mini")


def _answer(
    backend: str, items: Sequence[Item], dataset: Path, folder: Path, settings: Settings, on_count: OnCount
) -> Answers:
    if is_control(backend):
        began = time.perf_counter()
        said = answer_by_control(backend, items, dataset)
        on_count(len(items))
        return Answers(said, time.perf_counter() - began)
    return asyncio.run(ask_model(backend, items, folder, settings.asking, on_count))


def _text(answers: Answers, item: Item) -> str:
    found = answers.said.get(item.id)
    return found.text if found is not None else ""


def _told(asking: Asking) -> dict[str, Json]:
    """The settings that can change an answer; never more of an address than the model was asked at."""
    return {"api_base": asking.api_base, "sampling": sampling_of(asking), "width": asking.width}


def _summary(items: Sequence[Item], verdicts: Sequence[Verdict], answers: Answers) -> dict[str, Any]:
    groups = {**_groups(items), "answered": [at for at, item in enumerate(items) if item.id in answers.said]}
    complaints = Counter(name for verdict in verdicts for name in verdict.complaints)
    return {
        "unanswered": len(answers.failed),
        "why_unanswered": next(iter(answers.failed.values()), None),
        "speed": _speed(answers),
        "paid": answers.paid and asdict(answers.paid),
        "complaints": dict(sorted(complaints.items())),
        "measures": {name: _estimates(items, verdicts, places) for name, places in groups.items()},
    }


def _estimates(items: Sequence[Item], verdicts: Sequence[Verdict], places: Sequence[int]) -> dict[str, Any]:
    scores = [verdicts[at].scores for at in places]
    return _ordered(estimate(scores, [items[at].scene.instance.id for at in places]))


def _ordered(found: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: asdict(found[name]) for name in MEASURES if name in found}


def _groups(items: Sequence[Item]) -> dict[str, list[int]]:
    """Places of items by "all", split, and within all by kind of row and kind of call."""
    groups: dict[str, list[int]] = {"all": []}
    for at, item in enumerate(items):
        for name in _names(item):
            groups.setdefault(name, []).append(at)
    return groups


def _names(item: Item) -> Iterator[str]:
    kinds = kinds_of(item.exchange)
    yield from (next(kinds), item.split, f"kind {item.scene.session.kind}", f"level {item.scene.session.level}")
    yield from (f"call {kind}" for kind in kinds)


def _speed(answers: Answers) -> dict[str, Json]:
    """Seconds from question to answer, and answers a second by the clock; of those that were not known before."""
    took = sorted(said.seconds for said in answers.said.values() if said.seconds is not None)
    if not took:
        return {"n": 0, "width": answers.width}
    p50, p95 = (round(took[min(len(took) - 1, int(share * len(took)))], 6) for share in (0.5, 0.95))
    rate = round(len(took) / answers.seconds, 2)
    return {"n": len(took), "width": answers.width, "p50_s": p50, "p95_s": p95, "calls_per_s": rate}


def _write_verdicts(path: Path, items: Sequence[Item], answers: Answers, verdicts: Sequence[Verdict]) -> None:
    """A line for each item: the call, the truth, what was said, and how it was judged."""
    lines = (
        {
            "item": item.id,
            "split": item.split,
            "session": item.scene.session.id,
            "number": item.number,
            "call": item.messages[-1]["content"],
            "true": item.exchange.response.text,
            "said": answers.said[item.id].text if item.id in answers.said else None,
            "failed": answers.failed.get(item.id),
            "invented": item.invented,
            "scores": verdict.scores,
            "complaints": verdict.complaints,
        }
        for item, verdict in zip(items, verdicts, strict=True)
    )
    write_atomic(path, (orjson.dumps(line) + b"\n" for line in lines))


def _differences(items: Sequence[Item], scored: Mapping[str, Sequence[Verdict]]) -> dict[str, Any]:
    """How far each backend is above the first, by split, on the same items."""
    first, *others = scored
    groups = {name: places for name, places in _groups(items).items() if " " not in name}
    made: dict[str, Any] = {}
    for other in others:
        made[other] = {}
        for name, places in groups.items():
            instances = [items[at].scene.instance.id for at in places]
            one, two = ([scored[who][at].scores for at in places] for who in (first, other))
            made[other][name] = _ordered(differences(one, two, instances))
    return made

"""`carg demo`: the whole journey in minutes, and a last screen that says what was made and how good it is."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from carg.console import Screen

N_INSTANCES = 3
"""Conventions a service: enough to see variety, few enough for minutes."""
N_JUDGED = 40
"""Answers of the trained model that are judged; the share is rough, and said to be."""
EVAL_ROWS = 8
"""Packed rows measured of each held-out split: all of them would take as long as the training."""
ANSWER_TOKENS = 500


@dataclass(frozen=True, slots=True)
class Judged:
    """How the trained model did on calls of tools it never saw: counts of answers, and the best of them."""

    asked: int
    readable: int
    same_outcome: int
    true: int
    exact: int
    call: str
    truth: str
    answer: str


def show_demo(screen: Screen, run: Path, *, exchanges: int, minutes: float, seed: int, fresh: bool) -> None:
    """Run every stage, then tell what came of it."""
    from carg.pipeline import expand, filter_sessions, generate
    from carg.store import set_aside
    from carg.training import need_extra, train

    screen.note(f"the whole journey, in {run}; stop it at any moment: the same command goes on")
    need_extra()
    began = time.monotonic()
    if fresh:
        set_aside(run)
    screen.note("1/5 expand: tools and conventions from the worlds that ship")
    expanded = expand(run, n_instances=N_INSTANCES, seed=seed)
    screen.note(f"2/5 generate: calls and answers for {expanded.counts['tools']:,} tools, proved by execution")
    with screen.progress("generate", exchanges, "exchanges") as advance:
        generated = generate(run, n_exchanges=exchanges, seed=seed, on_count=advance)
    screen.note("3/5 filter: every exchange is parsed, checked and executed again")
    with screen.progress("filter", generated.counts["exchanges"], "exchanges") as advance:
        filtered = filter_sessions(run, on_count=advance)
    screen.note(f"4/5 finetune: a tiny model from scratch, {minutes:g} minutes")
    model = run / "model"
    report = train(
        screen,
        run / "dataset",
        model,
        fresh=False,
        init="tiny",
        minutes=minutes,
        epochs=100.0,
        eval_rows=EVAL_ROWS,
        seed=seed,
    )
    screen.note("5/5 simulate: the model answers calls of tools that it never saw")
    judged = judge_model(run, model)
    _last_screen(screen, run, expanded.counts, filtered.counts, report, judged, time.monotonic() - began)


def judge_model(run: Path, model: Path, n_judged: int = N_JUDGED) -> Judged | None:
    """The model's answers to first calls of held-out rows, as `carg evaluate` judges them; None without such."""
    from carg.config import Asking
    from carg.evaluation.answering import ask_model
    from carg.evaluation.items import read_items, splits_of
    from carg.evaluation.verdicts import judge

    splits = [split for split in splits_of(run / "dataset") if split != "train"]
    if not splits:
        return None
    first = [item for item in read_items(run, run / "dataset", splits, n_judged) if item.number == 0]
    asked = sorted(first, key=lambda item: item.split == "validation")[:n_judged]
    asking = Asking(sampling=(f"max_tokens={ANSWER_TOKENS}",))
    answers = asyncio.run(ask_model(f"gtm:{model}", asked, run / "evaluation", asking))
    judged = [(item, answers.said[item.id].text) for item in asked if item.id in answers.said]
    scores = [{name: got for name, (got, _) in judge(item, text).scores.items()} for item, text in judged]
    if not scores:
        return None
    best, said = judged[max(range(len(scores)), key=lambda at: sum(scores[at].values()))]
    return Judged(
        asked=len(scores),
        readable=sum(found.get("format") == 1 for found in scores),
        same_outcome=sum(found.get("format") == 1 and _same_outcome(found) for found in scores),
        true=sum(found["truth"] == 1 for found in scores),
        exact=sum(found["exact"] == 1 for found in scores),
        call=best.messages[-1]["content"],
        truth=best.exchange.response.text,
        answer=said,
    )


def _same_outcome(found: dict[str, float]) -> bool:
    return found.get("recall", 1) == 1 and found.get("false_alarms", 0) == 0


def _last_screen(
    screen: Screen,
    run: Path,
    expanded: dict[str, int],
    filtered: dict[str, int],
    report: Any,
    judged: Judged | None,
    seconds: float,
) -> None:
    if screen.as_json:
        from carg.pipeline import told

        screen.json(
            {"run": str(run), "expand": expanded, "filter": filtered, "judged": told(judged) if judged else None}
        )
        return
    rows = [
        ("tools", f"{expanded['tools']:,} in {expanded['worlds']} worlds ({expanded['authored']:,} authored)"),
        ("conventions", f"{expanded['instances']:,} instances of {expanded['services']} services"),
        (
            "exchanges kept",
            f"{filtered['exchanges/kept']:,} of {filtered['exchanges/read']:,} in {filtered['rows/kept']:,} rows",
        ),
        ("dataset", f"{run}/dataset   (datasets.load_dataset('{run}/dataset', 'simulator'))"),
        ("report", f"{run}/report.html"),
        ("model", f"{run}/model   ({report.parameters / 1e6:.1f} M parameters, {report.tokens:,} tokens seen)"),
        ("token accuracy", f"{report.accuracy:.1%} at the end of training"),
        ("time", f"{seconds / 60:.1f} minutes"),
    ]
    screen.table("What was made", ("", ""), rows)
    if judged is not None:
        _show_judged(screen, judged)
    screen.result("")
    screen.result("Try next:")
    screen.result(f"  carg simulate --run {run} --backend world --backend gtm:{run}/model")
    screen.result(f"  carg evaluate {run}/dataset -b gtm:{run}/model -b nearest -b twin -b world")
    screen.result(f"  carg stats tools --run {run}")
    screen.result("  carg finetune --run RUN --base Qwen/Qwen2.5-1.5B     (on a GPU, with more exchanges)")


def _show_judged(screen: Screen, judged: Judged) -> None:
    screen.result("")
    screen.result(f"A call of a tool that the model never saw:\n  {_short(judged.call)}")
    screen.result(f"the world answers:\n  {_short(judged.truth)}")
    screen.result(f"the tiny model answers:\n  {_short(judged.answer)}")
    screen.result(
        f"Of {judged.asked} such calls it answered {judged.readable} readably (a grammar holds it to the form where "
        f"answers are JSON), {judged.same_outcome} with the right outcome, {judged.true} rightly in all that is "
        f"determined, {judged.exact} letter for letter. This is the best of them. Minutes of training teach the form, "
        "not the work: "
        "that is what the data, a "
        "1.5 B model and a GPU are for."
    )


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 400 else f"{flat[:400]}..."

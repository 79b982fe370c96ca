"""`carg demo`: the whole journey in minutes, and a last screen that says what was made and how good it is."""

from __future__ import annotations

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
ROOM = 600
"""Tokens that must be left in the context for an answer."""


@dataclass(frozen=True, slots=True)
class Judged:
    """How the trained model did on calls of tools it never saw: counts of answers, and one example."""

    asked: int
    readable: int
    valid: int
    same_outcome: int
    exact: int
    call: str
    truth: str
    answer: str


def show_demo(screen: Screen, run: Path, *, exchanges: int, minutes: float, seed: int, fresh: bool) -> None:
    """Run every stage, then tell what came of it."""
    from carg.pipeline import expand, filter_sessions, generate
    from carg.store import set_aside
    from carg.training import need_extra, train

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
    """The model's answers to the first calls of held-out rows, decoded as in `carg simulate`; None without such."""
    from carg.gtm.decode import answer, load_gtm
    from carg.gtm.tokens import prompt_ids
    from carg.scene import open_book
    from carg.shards import read_rows

    gtm = load_gtm(model)
    most = gtm.model.config.max_position_embeddings - ROOM
    chosen: list[dict[str, Any]] = []
    for split in ("test_tools", "test_domains", "validation"):
        for row in read_rows(run / "dataset", "simulator", split):
            fits = row["messages"][2]["train"] and len(prompt_ids(gtm.tokenizer, [row["messages"][:2]])[0]) <= most
            if fits and len(chosen) < n_judged:
                chosen.append(row)
    if not chosen:
        return None
    asked = [_read_asked(open_book(run), row) for row in chosen]
    texts = answer(
        gtm, [row["messages"][:2] for row in chosen], max_new_tokens=ROOM - 100, schema=[a.schema for a in asked]
    )
    return _judge(chosen, asked, texts)


@dataclass(frozen=True, slots=True)
class _Asked:
    convention: Any
    definition: Any
    schema: Any
    ok: bool


def _read_asked(book: Any, row: dict[str, Any]) -> _Asked:
    import orjson

    from carg.world.answers import answer_schema
    from carg.world.replay import service_of
    from carg.world.syntax import parse_call

    meta = orjson.loads(row["meta"])
    service = service_of(book.instances[meta["instance"]])
    parsed = parse_call(service.convention, row["messages"][1]["content"], service.definitions)
    definition = service.definitions.get(parsed.tool or "")
    schema = answer_schema(service.convention, definition) if definition is not None else None
    return _Asked(service.convention, definition, schema, meta["exchanges"][0]["ok"])


def _judge(rows: list[dict[str, Any]], asked: list[_Asked], texts: list[str]) -> Judged:
    from carg.errors import RecordError
    from carg.schemas import is_valid
    from carg.world.wording import read_response

    counts = {"readable": 0, "valid": 0, "same": 0, "exact": 0}
    scores = []
    for row, item, text in zip(rows, asked, texts, strict=True):
        found = set()
        try:
            response = read_response(item.convention, text, item.definition)
            found.add("readable")
            if not response.ok or item.definition is None or is_valid(item.definition.returns, response.body):
                found.add("valid")
                if response.ok == item.ok:
                    found.add("same")
        except RecordError:
            pass
        if text == row["messages"][2]["content"]:
            found.add("exact")
        for name in found:
            counts[name] += 1
        scores.append(len(found))
    best = scores.index(max(scores))
    call, truth = rows[best]["messages"][1]["content"], rows[best]["messages"][2]["content"]
    return Judged(
        len(rows), counts["readable"], counts["valid"], counts["same"], counts["exact"], call, truth, texts[best]
    )


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
    screen.result(f"  carg stats tools --run {run}")
    screen.result("  carg finetune --run RUN --base Qwen/Qwen2.5-1.5B     (on a GPU, with more exchanges)")


def _show_judged(screen: Screen, judged: Judged) -> None:
    screen.result("")
    screen.result(f"A call of a tool that the model never saw:\n  {_short(judged.call)}")
    screen.result(f"the world answers:\n  {_short(judged.truth)}")
    screen.result(f"the tiny model answers:\n  {_short(judged.answer)}")
    screen.result(
        f"Of {judged.asked} such calls it answered {judged.readable} readably, {judged.valid} in a valid form (a "
        f"grammar holds it to the form where answers are JSON), {judged.same_outcome} with the right outcome, "
        f"{judged.exact} exactly. This is the best of them. Minutes of training teach the form, not the work: "
        "that is what the data, a "
        "1.5 B model and a GPU are for."
    )


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 400 else f"{flat[:400]}..."

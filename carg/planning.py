"""`carg run`, `carg plan` and `carg status` as people see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from carg.config import Asking, Config, shares_of
from carg.console import Screen
from carg.ledger import read_run
from carg.status import read_status, total_cost
from carg.store import is_done, read_parts


def show_run(screen: Screen, config: Config, *, retry_failed: bool = False, fresh: bool = False) -> None:
    """Walks what is due, with a line for each stage; in JSON one list, also where an error ends the visit."""
    from carg.due import run_due
    from carg.pipeline import told

    done = []
    try:
        for made in run_due(config, screen, retry_failed=retry_failed, fresh=fresh):
            done.append(made)
            if not screen.as_json:
                counts = {**made.counts, **{f"slots {name}": count for name, count in made.slots.items() if count}}
                listed = ", ".join(f"{count:,} {name}" for name, count in counts.items() if "/" not in name)
                listed = listed or f"{made.counts['rows/kept']:,} of {made.counts['rows/read']:,} rows kept"
                screen.result(f"{made.stage}: {'was done' if made.again else 'done'}: {listed}")
    finally:
        if screen.as_json:
            screen.json([told(made) for made in done])


def show_plan(
    screen: Screen, run: Path, asking: Asking, *, domains: Sequence[str], n_tools: int, writing: dict[str, Any]
) -> None:
    """What expand and generate will take: calls, tokens, dollars, time, and how sure that is.

    `writing` is what generate is to write: n_exchanges, session_mode, n_queries.

    Where the run's tools are made, only generate is forecast; where replies of the run are there, they are measured.
    """
    lines = [
        line
        for model, share in shares_of(asking.backend).items()
        for line in _forecast(run, model, share, domains, n_tools, writing)
        if line.calls
    ]
    if screen.as_json:
        minutes = {"minutes": [line.minutes(asking.width, asking.rpm, asking.tpm) for line in lines]}
        screen.json(
            {"lines": [asdict(line) | {"stage": line.stage, "spread": line.spread} for line in lines], **minutes}
        )
        return
    rows = [_row(line, asking) for line in lines]
    columns = ("stage", "prompt", "model", "calls", "tokens in", "tokens out", "dollars", "minutes", "how sure")
    screen.table(f"Plan for {run}", columns, rows)
    costs = [line.cost for line in lines]
    if any(cost is None for cost in costs):
        screen.note("no price is known for a model: dollars are of the others; --max-tokens bounds a run all the same")
    known = [line for line in lines if line.cost is not None]
    low, high = sum(line.cost / line.spread for line in known), sum(line.cost * line.spread for line in known)
    if known:
        screen.result(f"in all {sum(line.cost for line in known):,.2f} dollars; expect {low:,.2f} to {high:,.2f}")


def _forecast(
    run: Path, model: str, share: float, domains: Sequence[str], n_tools: int, writing: dict[str, Any]
) -> list[Any]:
    from carg.stages.forecast import forecast_road, forecast_teacher

    spent = read_run(run) if run.is_dir() else []
    if is_done(run / "expand", "expand"):
        from carg.records import Instance

        if any(instance.operations for instance in read_parts(Instance, run / "expand", "instances")):
            return forecast_teacher(model, writing["n_exchanges"], share=share, spent=spent)
        return forecast_road(model, n_domains=1, n_tools=0, **writing, share=share, spent=spent)
    from carg.domains import choose_seeds

    n_domains = len(choose_seeds(domains, worlds=False))
    return forecast_road(model, n_domains=n_domains, n_tools=n_tools, **writing, share=share, spent=spent)


def _row(line: Any, asking: Asking) -> tuple[Any, ...]:
    sure = f"{line.n_measured:,} replies" if line.n_measured else "estimate"
    minutes = line.minutes(asking.width, asking.rpm, asking.tpm)
    counts = (line.calls, line.tokens_in, line.tokens_out, line.cost, minutes)
    return line.stage, line.prompt, line.model, *counts, f"{sure}, factor {line.spread:.2g}"


def show_status(screen: Screen, run: Path) -> None:
    """Where a run stands: each stage, what it made, its slots and replies, and the money that went."""
    stages = read_status(run)
    if screen.as_json:
        screen.json({"run": str(run), "cost": total_cost(run), "stages": [asdict(stage) for stage in stages]})
        return
    rows = [
        (
            item.stage,
            item.state,
            ", ".join(f"{count:,} {name}" for name, count in item.counts.items())
            or (f"{item.parts} parts" if item.parts else ""),
            ", ".join(f"{count:,} {name}" for name, count in item.slots.items()),
            item.replies,
            item.journal_bytes / 1e6,
            item.cost,
        )
        for item in stages
    ]
    columns = ("stage", "state", "made", "slots", "replies", "journal, MB", "dollars")
    unpriced = sum(item.unpriced for item in stages)
    screen.table(str(run), columns, rows, f"{unpriced:,} replies came without a price." if unpriced else "")

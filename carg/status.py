"""Where a run stands, read from its manifests and journals alone: fast, without a lock, while others work in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from carg.config import STAGES
from carg.errors import StoreError
from carg.ledger import JOURNAL, read_run, read_slots, read_spent, sum_up
from carg.store import is_done, read_manifest


@dataclass(frozen=True, slots=True)
class StageStatus:
    """One stage. `state` is done, begun or not begun; `slots` count by how they ended; `cost` is in US dollars."""

    stage: str
    state: str
    counts: dict[str, int]
    digest: str
    parts: int
    slots: dict[str, int]
    replies: int
    journal_bytes: int
    cost: float
    unpriced: int


def read_status(run: Path) -> list[StageStatus]:
    """All stages of a run, in order. Raises StoreError where there is no run."""
    if not run.is_dir():
        raise StoreError(f"{run}: no such run", "name one with --run, or begin it: carg expand --run DIR")
    return [_stage(run, stage) for stage in STAGES]


def total_cost(run: Path) -> float:
    """US dollars of all visits, those to stages that were set aside too."""
    return sum_up(read_run(run)).cost


def _stage(run: Path, stage: str) -> StageStatus:
    folder = run / stage if stage in ("expand", "generate") else run
    done = is_done(folder, stage)
    found = read_manifest(folder, stage) if done else _trained(run) if stage == "finetune" else {}
    has_own = folder != run
    begun = {"filter": run / "parts", "finetune": run / "model"}.get(stage, folder)
    counts = found.get("counts", {})
    shown = [name for name in counts if "/" not in name or name.startswith("rows/")]
    spent = sum_up(read_spent(folder)) if has_own else sum_up(())
    journal = folder / JOURNAL
    return StageStatus(
        stage=stage,
        state="done" if found else "begun" if begun.exists() else "not begun",
        counts={name.replace("rows/", "rows "): count for name, count in counts.items() if name in shown},
        digest=str(found.get("digest", "")),
        parts=sum(1 for _ in (begun if stage == "filter" else folder).glob("[cst]*-[0-9]*.jsonl"))
        if begun.exists()
        else 0,
        slots=read_slots(folder) if has_own else {},
        replies=spent.replies,
        journal_bytes=journal.stat().st_size if has_own and journal.exists() else 0,
        cost=spent.cost,
        unpriced=spent.unpriced,
    )


def _trained(run: Path) -> dict[str, Any]:
    """What `carg finetune` says of a finished model of the run; only `carg run` leaves a manifest besides."""
    try:
        told = orjson.loads((run / "model" / "report.json").read_bytes())
        return {"counts": {name: told[name] for name in ("parameters", "conversations", "steps")}}
    except (OSError, ValueError, KeyError, TypeError):
        return {}

"""What a run has paid for: calls, tokens and dollars by stage, prompt and model, read from the journals of replies.

The journals are the truth, so that a killed visit is in the sum too. `spent.json` beside a journal says how far it was
summed up and to what: only what came later is read again. No heavy package is needed, nor a lock to read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from carg.stats import Table
from carg.store import write_atomic

JOURNAL = "replies.jsonl"
SPENT = "spent.json"


@dataclass(slots=True)
class Spent:
    """What one prompt took from one model. `unpriced` replies came without a price and are not in `cost` (dollars)."""

    stage: str
    prompt: str
    model: str
    replies: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0
    unpriced: int = 0

    def add(self, entry: Mapping[str, Any]) -> None:
        """Counts one reply of the journal."""
        self.replies += 1
        self.tokens_in += entry["tokens_in"]
        self.tokens_out += entry["tokens_out"]
        self.cost += entry["cost"] or 0.0
        self.unpriced += entry["cost"] is None


def read_spent(folder: Path) -> list[Spent]:
    """What the journal of one stage folder took, sorted by prompt and model; [] without a journal."""
    return _read(folder)[1]


def store_spent(folder: Path) -> None:
    """Notes how far the journal is summed up, so that the next reader starts there."""
    offset, lines = _read(folder)
    write_atomic(folder / SPENT, [orjson.dumps({"offset": offset, "lines": lines}), b"\n"])


def read_run(run: Path) -> list[Spent]:
    """What all stages of a run took, those that were set aside too: the money is gone all the same."""
    return [line for path in sorted(run.glob(f"*/{JOURNAL}")) for line in read_spent(path.parent)]


def sum_up(lines: Iterable[Spent]) -> Spent:
    """All of it in one line."""
    whole = Spent("", "", "")
    for line in lines:
        for name in ("replies", "tokens_in", "tokens_out", "cost", "unpriced"):
            setattr(whole, name, getattr(whole, name) + getattr(line, name))
    return whole


def cost_table(run: Path, n_rows: int) -> list[Table]:
    """What the run took by stage, prompt and model, and of each of `n_rows` accepted rows; none without a model."""
    lines = read_run(run)
    if not lines:
        return []
    rows = [
        (line.stage, line.prompt, line.model, line.replies, line.tokens_in, line.tokens_out, *_dollars(line, n_rows))
        for line in [*lines, sum_up(lines)]
    ]
    columns = ("stage", "prompt", "model", "replies", "tokens in", "tokens out", "dollars", "dollars a row")
    unpriced = sum_up(lines).unpriced
    notes = f"{unpriced:,} replies came without a price and are not in the sums." if unpriced else ""
    return [Table("Cost", columns, tuple(rows), notes)]


def _dollars(line: Spent, n_rows: int) -> tuple[float | None, float | None]:
    if line.unpriced == line.replies:
        return None, None
    return round(line.cost, 6), round(line.cost / n_rows, 8) if n_rows else None


def _read(folder: Path) -> tuple[int, list[Spent]]:
    path, known = folder / JOURNAL, folder / SPENT
    offset, lines = 0, dict[tuple[str, str], Spent]()
    if not path.exists():
        return 0, []
    if known.exists():
        noted = orjson.loads(known.read_bytes())
        if noted["offset"] <= path.stat().st_size:
            offset = noted["offset"]
            lines = {(item["prompt"], item["model"]): Spent(**item) for item in noted["lines"]}
    with path.open("rb") as file:
        file.seek(offset)
        for text in file:
            if not text.endswith(b"\n"):
                break
            entry = orjson.loads(text)
            key = entry["prompt"], entry["model"]
            lines.setdefault(key, Spent(folder.name, *key)).add(entry)
            offset += len(text)
    return offset, [lines[key] for key in sorted(lines)]

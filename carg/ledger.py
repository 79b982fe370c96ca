"""What a run has paid for, and how its slots ended: calls, tokens and dollars by stage, prompt and model.

The journals are the truth, so that a killed visit is in the sum too. `spent.json` beside them, written every few
seconds of a visit, says how far they were summed up and to what: only what came later is read again. No heavy package
is needed, nor a lock to read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from carg.config import STAGES
from carg.stats import Table
from carg.store import is_done, read_manifest, write_atomic

JOURNAL = "replies.jsonl"
SLOTS = "slots.jsonl"
SPENT = "spent.json"

_SLOT = re.compile(rb'\{"slot":"((?:[^"\\]|\\.)*)","status":"(\w+)"')
"""The beginning of a line of slots.jsonl; the records behind it are not read."""


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


@dataclass(slots=True)
class _Ended:
    """How slots ended, up to an offset of their journal. Those that may yet be tried again are known by name."""

    offset: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    by_name: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, status: str) -> None:
        self.by_name.pop(name, None)
        if status in ("failed", "owed"):
            self.by_name[name] = status
        else:
            self.counts[status] = self.counts.get(status, 0) + 1


def read_spent(folder: Path) -> list[Spent]:
    """What the journal of one stage folder took, sorted by prompt and model; [] without a journal."""
    return _read(folder)[1]


def read_slots(folder: Path) -> dict[str, int]:
    """How many slots of a stage folder ended in which way, the last line of each slot counting."""
    ended = _read_slots(folder)
    return dict(sorted((Counter(ended.counts) + Counter(ended.by_name.values())).items()))


def store_spent(folder: Path) -> None:
    """Notes how far the journals are summed up, so that the next reader starts there."""
    offset, lines = _read(folder)
    noted = {"offset": offset, "lines": lines, "slots": asdict(_read_slots(folder))}
    write_atomic(folder / SPENT, [orjson.dumps(noted), b"\n"])


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
    """What the run took by stage, prompt and model, and of each of `n_rows` accepted rows; none without a model.

    A second table says how many answers were not taken, and why.
    """
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
    told = "Each was asked again with the complaint, twice at most; none of them is in a row."
    spoiled = Table("Answers not taken", ("stage", "reason", "answers"), tuple(_unusable(run)), told)
    return [Table("Cost", columns, tuple(rows), notes), *([spoiled] if spoiled.rows else [])]


def _unusable(run: Path) -> Iterator[tuple[str, str, int]]:
    for stage in STAGES:
        if is_done(run / stage, stage):
            found = read_manifest(run / stage, stage).get("unusable", {})
            yield from ((stage, reason, count) for reason, count in sorted(found.items()))


def _dollars(line: Spent, n_rows: int) -> tuple[float | None, float | None]:
    if line.unpriced == line.replies:
        return None, None
    return round(line.cost, 6), round(line.cost / n_rows, 8) if n_rows else None


def _read(folder: Path) -> tuple[int, list[Spent]]:
    path, noted = folder / JOURNAL, _noted(folder)
    offset, lines = 0, dict[tuple[str, str], Spent]()
    if noted and noted["offset"] <= _size(path):
        offset = noted["offset"]
        lines = {(item["prompt"], item["model"]): Spent(**item) for item in noted["lines"]}
    for text in _lines_from(path, offset):
        entry = orjson.loads(text)
        key = entry["prompt"], entry["model"]
        lines.setdefault(key, Spent(folder.name, *key)).add(entry)
        offset += len(text)
    return offset, [lines[key] for key in sorted(lines)]


def _read_slots(folder: Path) -> _Ended:
    path, noted = folder / SLOTS, _noted(folder).get("slots")
    ended = _Ended(**noted) if noted and noted["offset"] <= _size(path) else _Ended()
    for text in _lines_from(path, ended.offset):
        if match := _SLOT.match(text):
            ended.add(match[1].decode(), match[2].decode())
        ended.offset += len(text)
    return ended


def _noted(folder: Path) -> dict[str, Any]:
    path = folder / SPENT
    noted: dict[str, Any] = orjson.loads(path.read_bytes()) if path.exists() else {}
    return noted


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _lines_from(path: Path, offset: int) -> Iterator[bytes]:
    """The whole lines of a journal from an offset on."""
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(offset)
        for text in file:
            if not text.endswith(b"\n"):
                return
            yield text

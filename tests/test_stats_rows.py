"""`carg stats rows`: what the shards hold, counted from them alone, as the filter counted what it wrote."""

from __future__ import annotations

from pathlib import Path

import orjson
from tiny_run import Carg, carg, domains, made_once, run

from carg.shards import read_rows
from carg.stats.rows import measure_rows

__all__ = ["carg", "domains", "made_once", "run"]


def test_sizes_are_those_of_the_rows(run: Path) -> None:
    """Each split with its rows, services, exchanges, supervised ones and text, as counted row by row."""
    table, _ = measure_rows(run / "dataset")
    found = {line[0]: line for line in table.rows}
    rows = list(read_rows(run / "dataset", "simulator", "train"))
    turns = [turn for row in rows for turn in row["messages"]]
    sizes = sorted(sum(len(turn["content"]) for turn in row["messages"]) for row in rows)
    taught = sum(len(turn["content"]) for turn in turns if turn["train"])

    assert found["train"][1:5] == (
        len(rows),
        len({row["service"] for row in rows}),
        sum(turn["role"] == "assistant" for turn in turns),
        sum(turn["train"] for turn in turns),
    )
    assert sizes[(len(rows) - 1) // 2] <= found["train"][5] <= sizes[len(rows) // 2]
    assert found["train"][7] == round(taught / sum(sizes), 4)
    assert set(found) == {path.name.partition("-")[0] for path in (run / "dataset" / "simulator").iterdir()}


def test_labels_are_counted_by_what_a_row_shows(run: Path) -> None:
    """Exchanges and the share of invalid ones, by level of definitions and view of the state."""
    _, table = measure_rows(run / "dataset")
    counts: dict[tuple[str, str], list[bool]] = {}
    for row in read_rows(run / "dataset", "simulator", "train"):
        meta = orjson.loads(row["meta"])
        labels = [exchange["label"] == "invalid" for exchange in meta["exchanges"]]
        counts.setdefault((meta["level"], meta["view"]), []).extend(labels)

    assert [line[:3] for line in table.rows] == [(*key, len(counts[key])) for key in sorted(counts)]
    assert [line[4] for line in table.rows] == [round(sum(counts[key]) / len(counts[key]), 4) for key in sorted(counts)]


def test_what_is_no_dataset_is_told(tmp_path: Path, run: Path, carg: Carg) -> None:
    """No shards, and shards of another kind: two lines, no traceback; with --json, tables for programs."""
    code, out, err = carg("stats", "rows", "--run", tmp_path)
    assert (code, out) == (1, "")
    assert "mend: write the dataset first: carg filter" in err
    (tmp_path / "simulator").mkdir()
    (tmp_path / "simulator" / "train-00000-of-00001.parquet").write_bytes(b"not parquet")
    code, out, err = carg("stats", "rows", "--dataset", tmp_path)
    assert (code, out) == (1, "")
    assert err.splitlines()[-1].startswith("mend: ")

    code, out, _ = carg("--json", "stats", "rows", "--run", run)
    assert code == 0
    assert [table["title"] for table in orjson.loads(out)] == ["Rows", "Labels by what is shown"]

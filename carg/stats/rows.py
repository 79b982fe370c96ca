"""What the rows of a dataset are, read from its shards alone: sizes by split, and labels by what a row shows.

Any folder of our layout will do, whoever made it; polars scans it a column at a time, so memory does not grow with it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from carg.errors import StoreError
from carg.splits import SPLITS
from carg.stats import Table

if TYPE_CHECKING:
    import polars as pl


def measure_rows(dataset: Path) -> list[Table]:
    """Two tables on `<dataset>/simulator`: one row a split; one row for each level and view of the training split.

    Sizes are characters of all messages of a row. Raises StoreError where there are no shards, or torn ones.
    """
    import polars as pl

    if not any((dataset / "simulator").glob("*.parquet")):
        raise StoreError(f"{dataset}/simulator: no *.parquet here", "write the dataset first: carg filter")
    rows = pl.scan_parquet(dataset / "simulator" / "*.parquet", include_file_paths="path")
    try:
        return [_by_split(rows), _by_sight(rows)]
    except (pl.exceptions.PolarsError, OSError) as fault:
        raise StoreError(f"{dataset}: {fault}", "is it a dataset that carg filter wrote?") from fault


def _by_split(rows: pl.LazyFrame) -> Table:
    import polars as pl

    turns = pl.col("messages").list
    turn = pl.element().struct
    answers = turns.eval(pl.element().filter(turn.field("role") == "assistant"))
    taught = turns.eval(pl.element().filter(turn.field("train")))
    size = turns.eval(turn.field("content").str.len_chars()).list.sum()
    taught_size = taught.list.eval(turn.field("content").str.len_chars()).list.sum()
    found = (
        rows.select(
            _split().alias("split"),
            pl.concat_str("domain", pl.lit("/"), "service").alias("service"),
            answers.list.len().alias("exchanges"),
            taught.list.len().alias("supervised"),
            size.alias("size"),
            taught_size.alias("taught"),
        )
        .group_by("split")
        .agg(
            pl.len(),
            pl.col("service").n_unique(),
            pl.col("exchanges").sum(),
            pl.col("supervised").sum(),
            pl.col("size").median().alias("median"),
            pl.col("size").quantile(0.95).alias("p95"),
            (pl.col("taught").sum() / pl.col("size").sum()).round(4).alias("share"),
        )
        .collect(engine="streaming")
    )
    columns = ("split", "rows", "services", "exchanges", "supervised", "median size", "95 % size", "supervised text")
    order = {split: place for place, split in enumerate(SPLITS)}
    lines = tuple(sorted(found.iter_rows(), key=lambda row: order.get(row[0], len(order))))
    return Table("Rows", columns, lines, "Sizes in characters of a row's messages.")


def _by_sight(rows: pl.LazyFrame) -> Table:
    """Labels by level of definitions and view of the state: neither should tell the label."""
    import polars as pl

    meta = pl.col("meta").str
    labels = meta.json_path_match("$.exchanges").str.json_decode(pl.List(pl.Struct({"label": pl.String}))).list
    found = (
        rows.filter(_split() == "train")
        .select(
            meta.json_path_match("$.level").alias("level"),
            meta.json_path_match("$.view").alias("view"),
            labels.eval(pl.element().struct.field("label")).alias("label"),
        )
        .explode("label")
        .group_by("level", "view")
        .agg(pl.len(), (pl.col("label") == "invalid").mean().round(4).alias("invalid"))
        .sort("level", "view")
        .collect(engine="streaming")
    )
    whole: Any = max(1, found["len"].sum())
    lines = tuple((level, view, n, round(n / whole, 4), bad) for level, view, n, bad in found.iter_rows())
    notes = "Of the training split; the more alike the last column is, the less a level or a view gives away."
    return Table("Labels by what is shown", ("level", "view", "exchanges", "share", "invalid share"), lines, notes)


def _split() -> pl.Expr:
    import polars as pl

    return pl.col("path").str.extract(r"([a-z_]+)-\d+-of-\d+\.parquet$")

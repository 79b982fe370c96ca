"""Rows as Parquet shards in a folder that `datasets.load_dataset` reads: one config per kind of row.

A folder is written under a temporary name, synced and renamed: it is whole or it is not there. Memory is flat,
one row group per open split. What a row means is `render`'s; which split it belongs to is `splits`'.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from carg.errors import StoreError
from carg.records import Json, Row
from carg.splits import SPLITS

ROWS_PER_GROUP = 2_000
"""Reading the first group of 2,000 rows takes 0.03 s, of 200,000 nearly a second; the size is the same."""
ROWS_PER_SHARD = 50_000

_MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string()), ("train", pa.bool_())])
_TEXTS = ("id", "kind", "domain", "category", "service")
ROW_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in _TEXTS),
        ("tool_names", pa.list_(pa.string())),
        ("truth", pa.string()),
        ("label", pa.string()),
        ("messages", pa.list_(_MESSAGE)),
        ("tool_definitions", pa.string()),
        ("meta", pa.string()),
    ]
)
"""Columns of a simulator row. Nested schemas are JSON text: as native structs they gain the keys of other rows."""

SELECTION_SCHEMA = ROW_SCHEMA.append(pa.field("tools", pa.string()))
"""Selection rows alone have `tools`, for a trainer would render it into the prompt a second time elsewhere."""

CONFIGS: Mapping[str, pa.Schema] = {"simulator": ROW_SCHEMA, "selection": SELECTION_SCHEMA}


def config_of(row: Row) -> str:
    """The config that a row belongs to."""
    return "selection" if row.kind == "selection" else "simulator"


def write_shards(
    rows: Iterable[tuple[str, Row]],
    folder: Path,
    *,
    describe: Callable[[dict[str, int]], str] | None = None,
    fresh: bool = False,
    rows_per_shard: int = ROWS_PER_SHARD,
) -> dict[str, int]:
    """How many rows went to each `config/split`; `rows` are (split, row) in the order they shall have.

    `describe` makes the dataset card from the counts (default `write_card`). `fresh` replaces what is there. Raises
    StoreError when the folder holds files and `fresh` is not set, when a split is unknown, and when the disk is full:
    nothing is left of the new folder then, and what was there before is untouched.
    """
    if not fresh and folder.exists() and any(folder.iterdir()):
        raise StoreError(f"{folder} is not empty", "give --fresh to replace it, or choose another folder")
    part = folder.with_name(f".{folder.name}.part")
    with _whole_or_gone(part, folder):
        shutil.rmtree(part, ignore_errors=True)
        counts = _write_all(rows, part, rows_per_shard)
        (part / "README.md").write_text((describe or write_card)(counts), encoding="utf-8")
        _sync(part)
        _put_in_place(part, folder)
    return counts


@contextlib.contextmanager
def _whole_or_gone(part: Path, folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as fault:
        full = isinstance(fault, OSError) and fault.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        hint = "free some space, then run the same command again" if full else "see whether the folder can be written"
        raise StoreError(f"cannot write the shards of {folder}: {fault}", hint) from fault
    finally:
        shutil.rmtree(part, ignore_errors=True)


@dataclass(slots=True)
class _Open:
    """A split that is being written: its folder, what waits for the next row group, and the shard it goes to."""

    folder: Path
    split: str
    schema: pa.Schema
    waiting: list[dict[str, Any]] = field(default_factory=list)
    writer: pq.ParquetWriter | None = None
    n_rows: int = 0
    n_in_shard: int = 0
    n_shards: int = 0

    def put(self, row: dict[str, Any], rows_per_shard: int) -> None:
        self.waiting.append(row)
        self.n_rows += 1
        full = self.n_in_shard + len(self.waiting) >= rows_per_shard
        if full or len(self.waiting) >= ROWS_PER_GROUP:
            self.flush()
        if full:
            self.end_shard()

    def flush(self) -> None:
        if not self.waiting:
            return
        if self.writer is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / f"{self.split}-{self.n_shards:05d}.parquet"
            self.writer = pq.ParquetWriter(path, self.schema, compression="zstd", compression_level=3)
        self.writer.write_table(pa.Table.from_pylist(self.waiting, schema=self.schema))
        self.n_in_shard += len(self.waiting)
        self.waiting = []

    def end_shard(self) -> None:
        if self.writer is not None:
            self.writer.close()
            self.writer, self.n_in_shard, self.n_shards = None, 0, self.n_shards + 1

    def rename(self) -> None:
        for number in range(self.n_shards):
            stem = self.folder / f"{self.split}-{number:05d}"
            stem.with_suffix(".parquet").rename(f"{stem}-of-{self.n_shards:05d}.parquet")


def _write_all(rows: Iterable[tuple[str, Row]], part: Path, rows_per_shard: int) -> dict[str, int]:
    opened: dict[str, _Open] = {}
    try:
        for split, row in rows:
            config = config_of(row)
            if split not in SPLITS:
                raise StoreError(f"row {row.id}: unknown split {split!r}", f"one of {', '.join(SPLITS)}")
            key = f"{config}/{split}"
            if key not in opened:
                opened[key] = _Open(part / config, split, CONFIGS[config])
            opened[key].put(_as_dict(row, config), rows_per_shard)
        for split_file in opened.values():
            split_file.flush()
    finally:
        for split_file in opened.values():
            split_file.end_shard()
    for split_file in opened.values():
        split_file.rename()
    part.mkdir(parents=True, exist_ok=True)
    return {key: opened[key].n_rows for key in _in_order(opened)}


def _in_order(keys: Container[str]) -> list[str]:
    return [f"{config}/{split}" for config in CONFIGS for split in SPLITS if f"{config}/{split}" in keys]


def _as_dict(row: Row, config: str) -> dict[str, Any]:
    plain: dict[str, Any] = {name: getattr(row, name) for name in ROW_SCHEMA.names}
    plain["messages"] = [{"role": item.role, "content": item.content, "train": item.train} for item in row.messages]
    if config == "selection":
        plain["tools"] = row.tool_definitions
    return plain


def _sync(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _put_in_place(part: Path, folder: Path) -> None:
    """Swap the new folder in; the old one is moved aside first, for a folder cannot be renamed onto a full one."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    part.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def write_card(counts: Mapping[str, int], about: Mapping[str, Json] | None = None) -> str:
    """The dataset card: configs and splits for `datasets`, then counts, and a section for each entry of `about`.

    `about["licence"]` is an SPDX name for the head (default apache-2.0), `about["title"]` the title; any other
    entry becomes a section: text as it is, a mapping as a table of two columns.
    """
    about = dict(about or {})
    licence, title = str(about.pop("licence", "apache-2.0")), str(about.pop("title", "Simulated tools by carg"))
    head = ["---", f"license: {licence}", "task_categories:", "- text-generation", "configs:"]
    for config in CONFIGS:
        splits = [key.partition("/")[2] for key in counts if key.startswith(f"{config}/")]
        if splits:
            head += [f"- config_name: {config}", "  data_files:"]
            for split in splits:
                head += [f"  - split: {split}", f"    path: {config}/{split}-*.parquet"]
    body = ["---", "", f"# {title}", "", f"Licence: {licence}. The data are synthetic unless the split is `test_real`."]
    body += _table("Rows", counts)
    for name, value in about.items():
        body += _table(name, value) if isinstance(value, Mapping) else ["", f"## {name}", "", str(value)]
    return "\n".join([*head, *body, ""])


def _table(title: str, values: Mapping[str, Json]) -> list[str]:
    lines = [f"| {name} | {value} |" for name, value in values.items()]
    return ["", f"## {title}", "", "| | |", "|---|---|", *lines]


def read_rows(folder: Path, config: str = "simulator", split: str = "train") -> Iterator[dict[str, Any]]:
    """The rows of one split as plain dicts, in order, a row group at a time. Raises StoreError where it is missing."""
    paths = sorted((folder / config).glob(f"{split}-*.parquet"))
    if not paths:
        raise StoreError(f"{folder} has no {config}/{split}", "run `carg filter` first, or name another split")
    for path in paths:
        try:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=ROWS_PER_GROUP):
                    yield from batch.to_pylist()
        except (OSError, pa.ArrowException) as fault:
            raise StoreError(f"{path}: {fault}", "the shard is torn or not Parquet: run `carg filter` again") from fault

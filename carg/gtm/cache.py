"""The token cache of a split: its shards tokenised once, laid out flat on disk and mapped into memory.

A cache is a folder of `tokens.u32` (ids; bit 31 says "supervised"), `offsets.u64` (where each conversation
starts, and the end) and `cache.json` (what it was made from; written last). Planning what to train on when is
`pack`'s job.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from carg.errors import StoreError, TrainError
from carg.gtm.tokens import Tokenizer, digest_tokenizer, render
from carg.records import digest

SUPERVISED = np.uint32(1 << 31)
"""Ids stay below this bit: no vocabulary has two thousand million tokens."""

_ROWS_AT_ONCE = 512
_TELL_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Cache:
    """The tokens of a split, mapped read-only."""

    tokens: NDArray[np.uint32]
    """Ids of all conversations end to end, with SUPERVISED set where the loss looks."""
    offsets: NDArray[np.uint64]
    """Starts of the conversations in `tokens`, and one end: one longer than the number of conversations."""
    fingerprint: str
    """Digest of shards, tokenizer and renderer."""
    n_supervised: int


def find_shards(dataset: Path, split: str, config: str = "simulator") -> list[Path]:
    """The shards of a split of a dataset folder, in order; empty where the split is absent.

    Raises StoreError when shards of one split do not agree on their number or one is missing.
    """
    shards = sorted((dataset / config).glob(f"{split}-*-of-*.parquet"))
    wanted = {shard.stem.rsplit("-of-", 1)[1] for shard in shards}
    if shards and (len(wanted) > 1 or int(wanted.pop()) != len(shards)):
        raise StoreError(
            f"{dataset}/{config}: {len(shards)} shards of {split} do not match the number in their names",
            "run `carg filter` again to write the dataset whole",
        )
    return shards


def digest_shards(shards: Sequence[Path]) -> str:
    """A digest of the names and bytes of the shards."""
    whole = hashlib.sha256()
    for shard in shards:
        whole.update(shard.name.encode())
        with shard.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()[:16]


def read_conversations(shards: Sequence[Path], labels: Sequence[str] = ()) -> Iterator[list[list[dict[str, Any]]]]:
    """The `messages` of the shards, some hundreds of rows at a time; where labels are named, of rows with one of them.

    Raises StoreError for a shard that cannot be read or holds something else.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = ["messages", *(["label"] if labels else [])]
    for shard in shards:
        try:
            with pq.ParquetFile(shard) as file:
                for batch in file.iter_batches(_ROWS_AT_ONCE, columns=columns):
                    rows = batch.to_pylist()
                    chosen = [row["messages"] for row in rows if not labels or row["label"] in labels]
                    if not all(_is_talk(messages) for messages in chosen):
                        raise ValueError("each message needs role and content (texts) and train (true or false)")
                    yield chosen
        except (pa.ArrowException, OSError, KeyError, ValueError) as fault:
            raise StoreError(
                f"{shard}: not a shard with {' and '.join(columns)} as `carg filter` writes them ({fault})",
                "run `carg filter` again to write it whole",
            ) from fault


def _is_talk(messages: Any) -> bool:
    return isinstance(messages, list) and all(
        isinstance(turn, dict)
        and isinstance(turn.get("role"), str)
        and isinstance(turn.get("content"), str)
        and isinstance(turn.get("train"), bool)
        for turn in messages
    )


def open_cache(
    shards: Sequence[Path],
    tokenizer: Tokenizer,
    folder: Path,
    *,
    labels: Sequence[str] = (),
    on_rows: Callable[[int], None] | None = None,
) -> Cache:
    """The cache of the shards under `folder`, built first if it is not there; `on_rows` hears of it now and then.

    Raises TrainError when not one token is supervised.
    """
    fingerprint = digest(digest_shards(shards), digest_tokenizer(tokenizer), *labels)
    home = folder / fingerprint
    if not (home / "cache.json").exists():
        _build(read_conversations(shards, labels), tokenizer, home, on_rows or (lambda rows: None))
    meta = orjson.loads((home / "cache.json").read_bytes())
    if not meta["supervised"]:
        raise TrainError(
            f"{shards[0].parent}: of {meta['rows']} rows{' labelled ' if labels else ''}{' or '.join(labels)} in "
            f"{len(shards)} shards, no message is marked `train`",
            "supervised answers have `train: true` in the messages column",
        )
    offsets: NDArray[np.uint64] = np.fromfile(home / "offsets.u64", dtype=np.uint64)
    tokens: NDArray[np.uint32] = np.memmap(home / "tokens.u32", dtype=np.uint32, mode="r")
    return Cache(tokens, offsets, fingerprint, meta["supervised"])


def _build(batches: Iterable[list[Any]], tokenizer: Tokenizer, home: Path, on_rows: Callable[[int], None]) -> None:
    """Write the cache beside its place and rename it there: a torn cache is never taken for a whole one."""
    draft = home.with_name(f"{home.name}.{os.getpid()}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        _write(batches, tokenizer, draft, on_rows)
        shutil.rmtree(home, ignore_errors=True)
        draft.rename(home)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write(batches: Iterable[list[Any]], tokenizer: Tokenizer, folder: Path, on_rows: Callable[[int], None]) -> None:
    ends, supervised, told = [0], 0, time.monotonic()
    with (folder / "tokens.u32").open("wb") as file:
        for conversations in batches:
            for ids, mask in render(tokenizer, conversations):
                file.write(np.where(mask, ids | SUPERVISED, ids).astype(np.uint32).tobytes())
                ends.append(ends[-1] + len(ids))
                supervised += int(mask.sum())
            if time.monotonic() - told > _TELL_EVERY_S:
                told = time.monotonic()
                on_rows(len(ends) - 1)
    on_rows(len(ends) - 1)
    np.array(ends, dtype=np.uint64).tofile(folder / "offsets.u64")
    (folder / "cache.json").write_bytes(orjson.dumps({"rows": len(ends) - 1, "supervised": supervised}))

"""The token cache and the packing plan: nothing lost, nothing doubled, nothing leaked."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gtm_shards import converse, write_dataset, write_shard
from hypothesis import given, settings
from hypothesis import strategies as st

from carg.errors import StoreError, TrainError
from carg.gtm import cache, pack, tokens

ROWS = [converse(random.Random(seed)) for seed in range(30)]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tokens.train_tokenizer((str(turn["content"]) for row in ROWS for turn in row), 500)


@pytest.fixture
def built(tokenizer: Any, tmp_path: Path) -> cache.Cache:
    shard = write_shard(tmp_path / "train-00000-of-00001.parquet", ROWS)
    return cache.open_cache([shard], tokenizer, tmp_path / "cache")


def test_cache_holds_the_rendered_rows(built: cache.Cache, tokenizer: Any) -> None:
    """Ids and supervision of every conversation stand in the cache in the order of the shards."""
    rendered = tokens.render(tokenizer, ROWS)

    pieces = np.split(built.tokens, built.offsets[1:-1].astype(int))

    assert [ids.tolist() for ids, _ in rendered] == [(piece & ~cache.SUPERVISED).tolist() for piece in pieces]
    assert [mask.tolist() for _, mask in rendered] == [((piece & cache.SUPERVISED) != 0).tolist() for piece in pieces]
    assert sum(int(mask.sum()) for _, mask in rendered) == built.n_supervised


def test_a_build_that_fails_leaves_nothing(tokenizer: Any, tmp_path: Path) -> None:
    """Neither the cache nor its draft."""
    torn = tmp_path / "train-00000-of-00001.parquet"
    torn.write_bytes(b"PAR1 and no more")

    with pytest.raises(StoreError):
        cache.open_cache([torn], tokenizer, tmp_path / "cache")

    assert list((tmp_path / "cache").iterdir()) == []


def test_cache_is_built_once_and_again_for_other_input(built: cache.Cache, tokenizer: Any, tmp_path: Path) -> None:
    """The same shards and tokenizer reuse the cache; other shards or another tokenizer make a new one."""
    shard = tmp_path / "train-00000-of-00001.parquet"
    heard: list[int] = []

    again = cache.open_cache([shard], tokenizer, tmp_path / "cache", on_rows=heard.append)
    assert (built.fingerprint, []) == (again.fingerprint, heard)

    other = tokens.train_tokenizer(["other words"], 300)
    assert cache.open_cache([shard], other, tmp_path / "cache", on_rows=heard.append).fingerprint != built.fingerprint
    assert [len(ROWS)] == heard

    write_shard(shard, ROWS[:-1])
    assert cache.open_cache([shard], tokenizer, tmp_path / "cache").fingerprint != built.fingerprint


def test_torn_cache_is_built_again(built: cache.Cache, tokenizer: Any, tmp_path: Path) -> None:
    """A cache without its last file was interrupted and is not believed."""
    home = tmp_path / "cache" / built.fingerprint
    (home / "cache.json").unlink()
    (home / "offsets.u64").write_bytes(b"")

    again = cache.open_cache([tmp_path / "train-00000-of-00001.parquet"], tokenizer, tmp_path / "cache")

    assert built.offsets.tolist() == again.offsets.tolist()


def test_shards_without_supervision_are_refused(tokenizer: Any, tmp_path: Path) -> None:
    """A split where no answer is marked for training is an error, not a run that learns nothing."""
    silent = [[{**turn, "train": False} for turn in row] for row in ROWS[:2]]
    shard = write_shard(tmp_path / "train-00000-of-00001.parquet", silent)

    with pytest.raises(TrainError, match="marked `train`"):
        cache.open_cache([shard], tokenizer, tmp_path / "cache")


def test_unreadable_shards_are_named(tokenizer: Any, tmp_path: Path) -> None:
    """Torn bytes, and Parquet without messages, are StoreErrors that name the file."""
    torn, foreign = tmp_path / "torn.parquet", tmp_path / "foreign.parquet"
    torn.write_bytes(b"PAR1 not really")
    pq.write_table(pa.table({"text": ["a"]}), foreign)

    for shard in (torn, foreign):
        with pytest.raises(StoreError, match=shard.name):
            cache.open_cache([shard], tokenizer, tmp_path / "cache")


def test_missing_shard_is_noticed(tmp_path: Path) -> None:
    """All shards of a split, in order; a gap in their numbering is an error; an absent split is empty."""
    dataset = write_dataset(tmp_path)

    names = [shard.name for shard in cache.find_shards(dataset, "train")]
    assert names == ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]
    assert cache.find_shards(dataset, "test_domains") == []

    (dataset / "simulator" / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(StoreError, match="do not match"):
        cache.find_shards(dataset, "train")


def test_long_conversation_is_cut_after_the_last_answer_that_fits(built: cache.Cache, tokenizer: Any) -> None:
    """A cut conversation ends with a whole answer; one with no answer that fits is dropped; both are counted."""
    end = tokenizer.convert_tokens_to_ids(tokens.TURN_END)
    whole = pack.find_documents(built, 10_000, turn_end=end)
    context = int(np.median(whole.lengths)) - 40

    cut = pack.find_documents(built, context, turn_end=end)

    assert (whole.n_cut, whole.n_dropped) == (0, 0)
    assert cut.n_cut > 0
    assert len(ROWS) == len(cut.lengths) + cut.n_dropped
    assert all(length <= context for length in cut.lengths)
    lasts = [int(built.tokens[start + length - 1]) for start, length in zip(cut.starts, cut.lengths, strict=True)]
    assert {end | int(cache.SUPERVISED)} == set(lasts)
    with pytest.raises(TrainError, match="no conversation has an answer within 20 tokens"):
        pack.find_documents(built, 20, turn_end=end)


@settings(max_examples=100, deadline=None)
@given(lengths=st.lists(st.integers(1, 64), min_size=1, max_size=80), seed=st.integers(0, 5), epoch=st.integers(0, 2))
def test_plan_holds_every_document_once_and_overflows_no_row(lengths: list[int], seed: int, epoch: int) -> None:
    """Every document is in exactly one row, no row is too long or empty, and no two could be joined."""
    sizes = np.array(lengths, dtype=np.int64)

    plan = pack.plan_rows(sizes, 64, seed=seed, epoch=epoch)

    assert list(range(len(lengths))) == sorted(plan.order.tolist())
    loads = [int(sizes[plan.order[a:b]].sum()) for a, b in itertools.pairwise(plan.bounds)]
    assert all(0 < load <= 64 for load in loads)
    assert len(loads) == 1 or sum(sorted(loads)[:2]) > 64


def test_plan_depends_on_seed_and_epoch_alone() -> None:
    """The same seed and epoch give the same plan, another epoch another one, and rows are well filled."""
    sizes = np.random.default_rng(0).integers(5, 900, 3000)

    first, again = (pack.plan_rows(sizes, 2048, seed=1, epoch=0) for _ in range(2))
    second = pack.plan_rows(sizes, 2048, seed=1, epoch=1)

    assert first.order.tolist() == again.order.tolist()
    assert first.order.tolist() != second.order.tolist()
    assert sizes.sum() / (first.n_rows * 2048) > 0.99


@pytest.mark.parametrize("pad_to", [0, 2500])
def test_row_restarts_positions_and_shifts_targets(built: cache.Cache, tokenizer: Any, pad_to: int) -> None:
    """Positions restart in each document, targets are the supervised ids, padding is a document of its own."""
    end = tokenizer.convert_tokens_to_ids(tokens.TURN_END)
    documents = pack.find_documents(built, 2048, turn_end=end)
    plan = pack.plan_rows(documents.lengths, 2048, seed=0, epoch=0)

    row = pack.fill_row(built, documents, plan, 0, pad_to=pad_to)

    members = plan.order[: plan.bounds[1]]
    pieces = [built.tokens[documents.starts[m] : documents.starts[m] + documents.lengths[m]] for m in members]
    supervised = np.concatenate([piece[(piece & cache.SUPERVISED) != 0] & ~cache.SUPERVISED for piece in pieces])
    assert supervised.tolist() == row.targets.tolist()
    assert row.targets.tolist() == row.ids[row.select + 1].tolist()
    assert [n for length in row.lengths for n in range(length)] == row.positions.tolist()
    assert (pad_to or sum(map(len, pieces))) == len(row.ids)
    assert len(members) + bool(pad_to) == len(row.lengths)


def test_first_token_of_a_document_is_no_target() -> None:
    """Where even the first token is supervised, the document before it does not learn to foretell it."""
    marked = np.array([5, 6, 7, 8], dtype=np.uint32) | cache.SUPERVISED
    made = cache.Cache(marked, np.array([0, 2, 4], dtype=np.uint64), "", 4)
    documents = pack.Documents(np.array([0, 2]), np.array([2, 2]), 0, 0)

    row = pack.fill_row(made, documents, pack.Plan(np.array([0, 1]), np.array([0, 2])), 0)

    assert (row.select.tolist(), row.targets.tolist()) == ([0, 2], [6, 8])


def test_context_is_scored_at_its_weight(built: cache.Cache, tokenizer: Any) -> None:
    """With a context weight every token but the first of a document is a target; supervised ones weigh 1."""
    documents = pack.find_documents(built, 2048, turn_end=tokenizer.convert_tokens_to_ids(tokens.TURN_END))
    plan = pack.plan_rows(documents.lengths, 2048, seed=0, epoch=0)

    plain = pack.fill_row(built, documents, plan, 0, pad_to=2500)
    row = pack.fill_row(built, documents, plan, 0, pad_to=2500, context_weight=0.25)

    assert len(row.select) == row.n_tokens - (len(row.lengths) - 1)
    assert row.select[row.weights == 1].tolist() == plain.select.tolist()
    assert set(row.weights.tolist()) == {0.25, 1.0}
    assert set(plain.weights.tolist()) == {1.0}

"""Shards load in `datasets`, keep splits apart, and are whole or not there."""

from __future__ import annotations

import random
import resource
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes import play, render

from carg.errors import StoreError
from carg.records import Row
from carg.shards import ROW_SCHEMA, read_rows, write_card, write_shards
from carg.splits import SPLITS, split_of

ROW = render(play(("get_book", {"id": "B-100"})))


def rows(n_rows: int, split: str = "train", kind: str = "session") -> Iterator[tuple[str, Row]]:
    """Numbered rows of one split."""
    return ((split, replace(ROW, id=f"r{number:05d}", kind=kind)) for number in range(n_rows))


def files(folder: Path) -> list[str]:
    """All files below a folder, by relative path."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_shards_are_named_by_split_and_number(tmp_path: Path) -> None:
    """A split that is larger than a shard becomes several, and each says how many there are."""
    counts = write_shards([*rows(5), *rows(1, "test_tools")], tmp_path / "d", rows_per_shard=2)

    assert counts == {"simulator/train": 5, "simulator/test_tools": 1}
    assert files(tmp_path) == [
        "d/README.md",
        "d/simulator/test_tools-00000-of-00001.parquet",
        "d/simulator/train-00000-of-00003.parquet",
        "d/simulator/train-00001-of-00003.parquet",
        "d/simulator/train-00002-of-00003.parquet",
    ]
    assert [row["id"] for row in read_rows(tmp_path / "d")] == [f"r0000{number}" for number in range(5)]


def test_a_row_comes_back_as_it_was(tmp_path: Path) -> None:
    """Every column has the type of the schema, and messages keep role, content and train."""
    write_shards(rows(1), tmp_path / "d")
    path = tmp_path / "d/simulator/train-00000-of-00001.parquet"
    (read,) = read_rows(tmp_path / "d")

    assert pq.read_schema(path).equals(ROW_SCHEMA)
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"
    assert read["messages"] == [
        {"role": item.role, "content": item.content, "train": item.train} for item in ROW.messages
    ]
    assert read["tool_names"] == list(ROW.tool_names)


def test_row_groups_stream(tmp_path: Path) -> None:
    """A shard of more than 2,000 rows has row groups of 2,000, so that a reader never holds more."""
    write_shards(rows(4_100), tmp_path / "d")
    groups = pq.ParquetFile(tmp_path / "d/simulator/train-00000-of-00001.parquet").metadata

    assert [groups.row_group(place).num_rows for place in range(groups.num_row_groups)] == [2000, 2000, 100]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("streaming", [False, True])
def test_datasets_load_each_config_and_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streaming: bool) -> None:
    """`datasets.load_dataset(folder, config)` finds the splits from the card, as a map and as a stream."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    write_shards([*rows(3), *rows(2, "test_domains"), *rows(1, "train", "selection")], tmp_path / "d")
    cache = str(tmp_path / "cache")
    simulator = datasets.load_dataset(str(tmp_path / "d"), "simulator", streaming=streaming, cache_dir=cache)
    selection = datasets.load_dataset(str(tmp_path / "d"), "selection", streaming=streaming, cache_dir=cache)
    row = next(iter(simulator["train"]))

    assert list(simulator) == ["train", "test_domains"]
    assert [item["id"] for item in simulator["test_domains"]] == ["r00000", "r00001"]
    assert row["messages"][1] == {"role": "user", "content": ROW.messages[1].content, "train": False}
    assert "tools" not in row
    assert next(iter(selection["train"]))["tools"] == ROW.tool_definitions


def test_a_folder_with_files_is_not_overwritten(tmp_path: Path) -> None:
    """What is there stays, unless fresh is asked for."""
    write_shards(rows(1), tmp_path / "d")
    with pytest.raises(StoreError, match="not empty"):
        write_shards(rows(2), tmp_path / "d")

    assert write_shards(rows(2), tmp_path / "d", fresh=True) == {"simulator/train": 2}
    assert len(list(read_rows(tmp_path / "d"))) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    """A write that fails is a StoreError with the way out, the old data stand, the new are gone."""
    write_shards(rows(1), tmp_path / "d")
    noise = ((split, replace(row, meta=random.Random(row.id).randbytes(99).hex())) for split, row in rows(3_000))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(StoreError) as caught:
            write_shards(noise, tmp_path / "d", fresh=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert "free some space" in caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["d"]
    assert len(list(read_rows(tmp_path / "d"))) == 1


def test_an_unknown_split_or_a_broken_source_leaves_nothing(tmp_path: Path) -> None:
    """An error in the rows themselves is passed on, and no folder stays behind."""

    def broken() -> Iterator[tuple[str, Row]]:
        yield from rows(3)
        raise ZeroDivisionError

    with pytest.raises(StoreError, match="unknown split 'dev'"):
        write_shards(rows(1, "dev"), tmp_path / "d")
    with pytest.raises(ZeroDivisionError):
        write_shards(broken(), tmp_path / "d")

    assert list(tmp_path.iterdir()) == []


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    """Nothing of time or place goes into a shard."""
    write_shards(rows(50), tmp_path / "a")
    write_shards(rows(50), tmp_path / "b")
    name = "simulator/train-00000-of-00001.parquet"

    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_missing_and_torn_shards_are_named(tmp_path: Path) -> None:
    """Reading says which split is missing, or which file is torn."""
    write_shards(rows(1), tmp_path / "d")
    path = tmp_path / "d/simulator/train-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:-20])

    with pytest.raises(StoreError, match="no simulator/validation"):
        list(read_rows(tmp_path / "d", split="validation"))
    with pytest.raises(StoreError, match=path.name):
        list(read_rows(tmp_path / "d"))


def test_the_card_says_what_is_inside(tmp_path: Path) -> None:
    """Counts, licence and the sections that were given stand in README.md."""
    about = {"title": "Bees", "Mix": {"valid": 2}, "Provenance": "seed 7"}
    write_shards(rows(2), tmp_path / "d", describe=lambda counts: write_card(counts, about))
    card = (tmp_path / "d/README.md").read_text()

    assert card.startswith("---\nlicense: apache-2.0\n")
    assert "- config_name: simulator\n  data_files:\n  - split: train\n    path: simulator/train-*.parquet\n---" in card
    assert "# Bees" in card
    assert "| simulator/train | 2 |" in card
    assert "## Mix\n\n| | |\n|---|---|\n| valid | 2 |" in card
    assert "## Provenance\n\nseed 7" in card


@given(st.text(min_size=1, max_size=8), st.text(min_size=1, max_size=8), st.lists(st.text(max_size=8), max_size=9))
def test_a_service_is_whole_in_or_out_of_test_tools(domain: str, service: str, keys: list[str]) -> None:
    """No row of a service is trained on while another is tested on; held-out and imported rows stand above."""
    found = {split_of(domain=domain, service=service, key=key) for key in keys}

    assert found <= {"test_tools"} or found <= {"train", "validation"}
    assert split_of(domain=domain, service=service, key="k", held_out=True) == "test_domains"
    assert split_of(domain=domain, service=service, key="k", held_out=True, imported="test_real") == "test_real"


def test_splits_have_their_shares_and_never_move() -> None:
    """A tenth of services and a twentieth of the other rows are held back; fixed examples stay where they are."""
    splits = [split_of(domain=f"d{n % 40}", service=f"s{n}", key=f"k{n}") for n in range(4_000)]
    shares = {split: round(splits.count(split) / 4_000, 2) for split in SPLITS[:3]}

    assert shares == {"train": 0.86, "validation": 0.05, "test_tools": 0.1}
    assert split_of(domain="library", service="desk", key="k1") == "train"

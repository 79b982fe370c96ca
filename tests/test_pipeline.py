"""Stages as functions: the same digests at any width, after lost parts, and after kill -9 between parts."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from tiny_run import INSTANCES, N_EXCHANGES, domains, files_of, in_process, made_once, run

from carg.domains import choose_seeds
from carg.errors import ConfigError, DomainError, StoreError, TooManyFailures
from carg.made import Made, check_failures
from carg.pipeline import expand, filter_sessions, generate, import_tools, told
from carg.store import read_manifest

__all__ = ["domains", "made_once", "run"]


def digests(run: Path) -> dict[str, str]:
    """The digest of each stage."""
    folders = {"expand": run / "expand", "generate": run / "generate", "filter": run}
    return {stage: read_manifest(folder, stage)["digest"] for stage, folder in folders.items()}


def make(run: Path, *, seed: int = 0, width: int = 1) -> dict[str, str]:
    """All stages as `made_once` has them; their digests."""
    expand(run, n_instances=INSTANCES, seed=seed)
    generate(run, n_exchanges=N_EXCHANGES, seed=seed, width=width)
    filter_sessions(run, width=width)
    return digests(run)


def rows_of(run: Path) -> dict[str, bytes]:
    """The bytes of everything but manifests and reports, which tell of more than the records."""
    return {
        name: data
        for name, data in files_of(run).items()
        if name.endswith(".jsonl") or (name.endswith(".parquet") and name.startswith("dataset"))
    }


def test_the_same_seed_gives_the_same_run_at_any_width(made_once: Path, domains: Path, tmp_path: Path) -> None:
    """In this process or in two others, to the byte; another seed gives another run."""
    assert make(tmp_path / "two", width=2) == digests(made_once)
    assert rows_of(tmp_path / "two") == rows_of(made_once)
    other = expand(tmp_path / "other", n_instances=INSTANCES, seed=1)
    assert other.digest != digests(made_once)["expand"]


def test_a_stage_that_is_done_is_not_done_again(run: Path) -> None:
    """It says so, and touches nothing."""
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file() and path.name != ".lock"}
    made = [
        expand(run, n_instances=INSTANCES),
        generate(run, n_exchanges=N_EXCHANGES, width=1),
        filter_sessions(run, width=1),
    ]

    assert [(one.stage, one.again) for one in made] == [("expand", True), ("generate", True), ("filter", True)]
    assert [one.digest for one in made] == list(digests(run).values())
    changed = {
        path for path, stamp in before.items() if path.stat().st_mtime_ns != stamp and "settings" not in path.name
    }
    assert changed == set()


@pytest.mark.parametrize(
    "name", ["expand/tools-00000.jsonl", "expand/instances-00000.jsonl", "generate/sessions-00001.jsonl"]
)
def test_a_part_that_was_lost_is_made_again(made_once: Path, run: Path, name: str) -> None:
    """The stage that made it makes it anew, to the byte; a later stage says that it is gone and goes no further."""
    (run / name).unlink()
    if name.startswith("generate"):
        with pytest.raises(StoreError, match=r"sessions-00001\.jsonl: the file is gone"):
            filter_sessions(run, width=1, fresh=True)

    assert make(run) == digests(made_once)
    assert (run / name).read_bytes() == (made_once / name).read_bytes()


def test_a_dataset_that_was_deleted_is_written_again(made_once: Path, run: Path) -> None:
    """From the same sessions, the same rows."""
    shutil.rmtree(run / "dataset")
    made = filter_sessions(run, width=1)

    assert (made.again, made.digest) == (False, digests(made_once)["filter"])
    assert rows_of(run) == rows_of(made_once)


KILLED = """
import os, signal, sys
from pathlib import Path
from carg.pipeline import expand, filter_sessions, generate
run, stage = Path(sys.argv[1]), sys.argv[2]
die = lambda _count: os.kill(os.getpid(), signal.SIGKILL)
if stage == "generate":
    generate(run, n_exchanges=int(sys.argv[3]), width=1, on_count=die)
filter_sessions(run, width=1, on_count=die)
"""


@pytest.mark.parametrize("stage", ["generate", "filter"])
def test_kill_9_between_parts_changes_nothing(made_once: Path, run: Path, stage: str) -> None:
    """Killed after each part in turn; the parts that were made are kept, and the digest is that of a quiet run."""
    if stage == "generate":
        shutil.rmtree(run / "generate")
    for path in (run / "dataset", run / "rejected"):
        shutil.rmtree(path)
    (run / "filter.manifest.json").unlink()

    ended = in_process(KILLED, run, stage, N_EXCHANGES)

    assert ended.returncode == -9, ended.stderr
    kept = {
        path: path.stat().st_mtime_ns
        for path in run.glob("generate/*-00000.jsonl" if stage == "generate" else "parts/*")
    }
    assert kept
    assert not (run / "generate" / "sessions-00001.jsonl").exists() or stage == "filter"
    generate(run, n_exchanges=N_EXCHANGES, width=1)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    filter_sessions(run, width=1)
    assert digests(run) == digests(made_once)
    assert rows_of(run) == rows_of(made_once)


def test_what_is_counted_is_what_is_there(run: Path) -> None:
    """Read = kept + dropped, in rows and in exchanges; each stage passes on what the one before it counted."""
    made = read_manifest(run / "generate", "generate")["counts"]
    counts = read_manifest(run, "filter")["counts"]
    lines = [len(path.read_bytes().splitlines()) for path in sorted(run.glob("generate/sessions-*.jsonl"))]

    assert sum(lines) == made["sessions"] == counts["rows/read"]
    assert counts["exchanges/read"] == made["exchanges"] >= N_EXCHANGES
    for unit in ("rows", "exchanges"):
        assert counts[f"{unit}/read"] == counts[f"{unit}/kept"] + counts[f"{unit}/dropped"]
    assert sum(count for name, count in counts.items() if name.startswith("split/")) == counts["exchanges/kept"]


@pytest.mark.parametrize(
    ("slots", "words"),
    [
        ({"requested": 10, "accepted": 8, "rejected": 0, "failed": 2}, "2 of 10 slots failed"),
        ({"requested": 10, "accepted": 10, "rejected": 1, "failed": 0}, "do not add up"),
        ({"requested": 10, "accepted": 9, "rejected": 0, "failed": 1}, ""),
        ({}, ""),
    ],
)
def test_failures_are_told_above_their_share(slots: dict[str, int], words: str) -> None:
    """A tenth is allowed here; slots that do not add up never are; worlds have none."""
    made = Made("expand", {}, "", slots=slots)
    if not words:
        check_failures(made, 0.1)
        return
    with pytest.raises(TooManyFailures, match=words):
        check_failures(made, 0.1)


def test_seeds_are_chosen_by_name_or_by_what_they_have(domains: Path) -> None:
    """All with a world, all, or those named, in the order of the names."""
    (domains / "culture" / "plain.toml").write_text(
        (domains / "culture" / "tool_library.toml").read_text().partition("kind =")[0]
    )

    assert [seed.name for seed in choose_seeds((), worlds=True)] == ["tool_library"]
    assert [seed.name for seed in choose_seeds((), worlds=False)] == ["plain", "tool_library"]
    assert [seed.name for seed in choose_seeds(("tool_library", "plain"), worlds=True)] == ["tool_library", "plain"]
    with pytest.raises(DomainError, match="unknown"):
        choose_seeds(("tool_library", "nosuch"), worlds=True)


def test_settings_bind_once_something_was_made(domains: Path, tmp_path: Path) -> None:
    """Not those of a call that failed before; those of one that was made, by their names."""
    run = tmp_path / "run"
    with pytest.raises(ConfigError, match="tools were asked for"):
        expand(run, n_tools=1000)
    expand(run, n_tools=5, n_instances=1)

    with pytest.raises(ConfigError, match=r"instances: 1 -> 2; tools: 5 -> 6"):
        expand(run, n_tools=6, n_instances=2)
    assert expand(run, n_tools=6, n_instances=2, fresh=True).counts["tools"] == 6
    assert read_manifest(run / "expand.1", "expand")["counts"]["tools"] == 5


def tools_file(path: Path, *names: str) -> Path:
    """An OpenAI list."""
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    words = {name: f"Tells the {name.replace('_', ' ')} of a city by its name." for name in names}
    functions = [{"name": name, "description": words[name], "parameters": schema} for name in names]
    path.write_bytes(orjson.dumps([{"type": "function", "function": function} for function in functions]))
    return path


def test_imported_tools_are_tools_of_a_run(domains: Path, tmp_path: Path) -> None:
    """Each file is a service; calls can be made for them, a dataset not; other files are changed settings."""
    one = tools_file(tmp_path / "one.json", "get_weather", "get_tides")
    two = tools_file(tmp_path / "two.json", "get_weather", "get_mayor")
    made, refusals = import_tools(tmp_path / "run", [one, two])

    assert (made.counts, refusals) == ({"tools": 4, "instances": 2, "refused": 0}, [])
    assert generate(tmp_path / "run", n_exchanges=12).counts["calls"] >= 4
    with pytest.raises(StoreError, match="calls without answers"):
        filter_sessions(tmp_path / "run")
    with pytest.raises(ConfigError, match="imported"):
        import_tools(tmp_path / "run", [one])


def test_what_was_made_is_plain_json() -> None:
    """For --json."""
    made = Made("filter", {"rows/kept": 1}, "ab", slots={"failed": 0})
    plain: Callable[[object], Any] = told

    assert orjson.loads(orjson.dumps(plain(made))) == {
        "stage": "filter",
        "counts": {"rows/kept": 1},
        "digest": "ab",
        "again": False,
        "slots": {"failed": 0},
    }

"""The filter keeps what is sound, says why it drops the rest, and gives the same bytes however the work is cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from scenes import REFEREES, alter, patch, play, render

import carg.filter
from carg.checks.corpus import sign_row
from carg.errors import RecordError, StoreError
from carg.filter import FilterReport, Reject, filter_part, filter_run, finish
from carg.records import Row
from carg.scene import Scene
from carg.shards import read_rows
from carg.store import read_records

STATES = ("shelved", "lent", "lost")


def browse(seed: int) -> Scene:
    """A sound session, another for each seed."""
    return play(
        ("search_books", {"state": STATES[seed % 3], "limit": 3 + seed}), ("get_book", {"id": "B-107"}), seed=seed
    )


def spoiled(seed: int) -> Scene:
    """A session with two faults."""
    return patch(browse(seed), 1, pages=9_999, note="TODO")


def run(scenes: list[Scene], out: Path, **settings: object) -> FilterReport:
    """The report of a filter with the library's own referees."""
    return filter_run(scenes, out, render=render, referees=REFEREES, **settings)


def rejects(out: Path, name: str = "rejected-00000") -> list[Reject]:
    """What was dropped."""
    return list(read_records(Reject, out / f"rejected/{name}.jsonl"))


def test_sound_sessions_are_kept_and_spoiled_ones_dropped_with_every_reason(tmp_path: Path) -> None:
    """Rows go to shards; a reject has all its reasons and its records; the counts add up."""
    report = run([browse(1), spoiled(2), browse(3)], tmp_path)
    (reject,) = rejects(tmp_path)
    kept = [row["id"] for row in read_rows(tmp_path / "dataset")]

    assert kept == [browse(1).session.id, browse(3).session.id]
    assert reject.id == spoiled(2).session.id
    assert [(item.check, item.at) for item in reject.reasons] == [("body_conforms", 1), ("placeholders", 1)]
    assert reject.exchanges == spoiled(2).session.exchanges
    assert report.samples == {"body_conforms": [reject.id], "placeholders": [reject.id]}
    assert {name: n for name, n in report.counts.items() if name.startswith(("rows/", "exchanges/", "shard/"))} == {
        "rows/read": 3,
        "rows/kept": 2,
        "rows/dropped": 1,
        "exchanges/read": 6,
        "exchanges/kept": 4,
        "exchanges/dropped": 2,
        "shard/simulator/train": 2,
    }
    assert report.counts["mix/session"] == report.counts["label/valid"] == 4


def test_a_faulty_single_goes_and_its_neighbours_stay(tmp_path: Path) -> None:
    """Calls behind one system text that are independent are judged one by one."""
    steps = (("get_book", {"id": "B-100"}), ("get_book", {"id": "B-9"}), ("get_book", {"id": "B-107"}))
    report = run([patch(play(*steps, kind="single"), 0, note="Lorem ipsum")], tmp_path)
    (row,) = read_rows(tmp_path / "dataset")
    (reject,) = rejects(tmp_path)

    assert [item["role"] for item in row["messages"]] == ["system", "user", "assistant", "user", "assistant"]
    assert len(reject.exchanges) == 1
    assert report.counts["rows/kept"] == 1
    assert report.counts.get("rows/dropped", 0) == 0
    assert (report.counts["exchanges/kept"], report.counts["exchanges/dropped"]) == (2, 1)
    assert {name: n for name, n in report.counts.items() if name.startswith("mix/")} == {
        "mix/valid single": 1,
        "mix/invalid otherwise": 1,
    }


def test_a_scene_that_cannot_be_rendered_is_a_reject_and_not_a_crash(tmp_path: Path) -> None:
    """A known error of one record is a reason like any other."""

    def fail(scene: Scene) -> Row:
        if scene == browse(2):
            raise RecordError("no such view")
        return render(scene)

    filter_run([browse(1), browse(2)], tmp_path, render=fail, referees=REFEREES)
    (reject,) = rejects(tmp_path)

    assert [(item.check, item.words) for item in reject.reasons] == [("unreadable", "no such view")]


def test_a_faulty_definition_drops_what_is_built_on_it(tmp_path: Path) -> None:
    """A session that shows a tool with a fault is not taught."""
    scene = browse(1)
    broken = {**scene.definitions, "get_book": replace(scene.definitions["get_book"], description="")}
    report = run([replace(scene, definitions=broken), browse(2)], tmp_path)

    assert report.counts["reason/described"] == 1
    assert report.counts["rows/kept"] == 1


def test_duplicates_are_dropped_over_the_whole_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same session in two parts is kept once, under another id and under the same."""
    monkeypatch.setattr(carg.filter, "SCENES_PER_PART", 1)
    twin = replace(browse(1), session=replace(browse(1).session, id="zz"))
    report = run([browse(1), browse(2), twin, browse(1)], tmp_path)

    assert report.counts["rows/kept"] == 2
    assert report.counts["reason/exact_duplicate"] == 2
    assert [item.id for item in rejects(tmp_path, "corpus-00000")] == ["zz"]


def test_pairs_are_kept_whole_and_in_one_split(tmp_path: Path) -> None:
    """Two halves of a minimal pair are not duplicates of each other."""
    steps = [("get_book", {"id": f"B-{100 + 7 * number}"}) for number in range(8)]
    one, other = play(*steps), play(*steps, ("get_book", {"id": "B-100"}))
    pair = [replace(item, session=replace(item.session, pair="p1")) for item in (one, other)]

    assert run([one, other], tmp_path / "a").counts["reason/near_duplicate"] == 1
    assert run(pair, tmp_path / "b").counts["rows/kept"] == 2


def contents(out: Path) -> dict[str, bytes]:
    """Every file of a run but the rejects, whose parts are cut as the work was."""
    paths = (path for path in out.rglob("*") if path.is_file() and "rejected" not in path.parts)
    return {str(path.relative_to(out)): path.read_bytes() for path in paths}


SCENES = [spoiled(seed) if seed % 4 == 0 else browse(seed) for seed in range(12)]


def test_how_the_work_is_cut_does_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One part or many, in any order, by anyone: the same shards and the same report."""
    run(SCENES, tmp_path / "whole")
    for number in (2, 0, 1):
        filter_part(SCENES[4 * number : 4 * number + 4], tmp_path / "parts", number, render=render, referees=REFEREES)
    finish(tmp_path / "parts")

    assert contents(tmp_path / "whole") == contents(tmp_path / "parts")
    assert not (tmp_path / "whole/parts").exists()


def test_a_part_that_is_there_is_not_judged_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a crash the same command goes on: finished parts are read, and the digest is that of an undisturbed run."""
    whole = run(SCENES, tmp_path / "whole")
    monkeypatch.setattr(carg.filter, "SCENES_PER_PART", 4)
    calls = 0

    def crash_late(scene: Scene) -> Row:
        nonlocal calls
        calls += 1
        if calls == 7:
            raise KeyboardInterrupt
        return render(scene)

    def go(how: Callable[[Scene], Row]) -> FilterReport:
        return filter_run(SCENES, tmp_path / "torn", render=how, referees=REFEREES)

    with pytest.raises(KeyboardInterrupt):
        go(crash_late)
    calls = 100
    report = go(crash_late)

    assert calls == 108
    assert report == whole


def test_finished_data_are_not_overwritten(tmp_path: Path) -> None:
    """A second run into the same folder is refused before anything is lost, unless fresh."""
    run([browse(1)], tmp_path)
    with pytest.raises(StoreError, match="not empty"):
        run([browse(1), browse(2)], tmp_path)

    assert finish(tmp_path, fresh=True).counts["rows/kept"] == 2


def test_a_fresh_run_leaves_no_rejects_of_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer parts than before: the rejects of the others go."""
    monkeypatch.setattr(carg.filter, "SCENES_PER_PART", 1)
    run([spoiled(1), spoiled(2), browse(3)], tmp_path)
    run([browse(3)], tmp_path, fresh=True)

    assert sorted(path.name for path in (tmp_path / "rejected").iterdir()) == [
        "corpus-00000.jsonl",
        "rejected-00000.jsonl",
    ]
    assert rejects(tmp_path) == []


def test_splits_and_benchmarks(tmp_path: Path) -> None:
    """Held-out domains and imports go to their own splits; a row of a benchmark goes nowhere."""
    scene = browse(1)
    held = replace(browse(2), instance=replace(scene.instance, held_out=True))
    filter_part([scene, held], tmp_path, 0, render=render, referees=REFEREES)
    filter_part([browse(4)], tmp_path, 1, render=render, referees=REFEREES, imported="test_real")
    report = finish(tmp_path, benchmarks=[replace(sign_row(render(scene)), id="bfcl-1")])

    assert report.counts["shard/simulator/test_domains"] == report.counts["shard/simulator/test_real"] == 1
    assert report.counts["reason/benchmark_overlap"] == 1
    assert "shard/simulator/train" not in report.counts


def test_nothing_in_is_an_empty_dataset(tmp_path: Path) -> None:
    """A run without sessions ends with a card and a report, not with an error."""
    report = run([], tmp_path)

    assert report.counts == {}
    assert (tmp_path / "dataset/README.md").exists()
    assert orjson.loads((tmp_path / "filter.json").read_bytes())["digest"] == report.digest


def test_undetermined_singles_are_dropped_and_sessions_keep_them_as_context(tmp_path: Path) -> None:
    """A turn that is context only is no use alone; a session of nothing else is no use either."""
    single = play(("get_book", {"id": "B-100"}), ("get_book", {"id": "B-107"}), kind="single")
    hidden = alter(single, 0, lambda item: replace(item, train=False))
    session = alter(browse(1), 0, lambda item: replace(item, train=False))
    idle = alter(alter(browse(2), 0, lambda item: replace(item, train=False)), 1, lambda i: replace(i, train=False))
    report = run([hidden, session, idle], tmp_path)

    assert report.counts["exchanges/kept"] == 3
    assert {name: n for name, n in report.counts.items() if name.startswith("reason/")} == {
        "reason/determined": 1,
        "reason/teaches": 1,
    }

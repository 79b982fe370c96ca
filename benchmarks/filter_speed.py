"""How many exchanges the filter judges a second on one core, all checks on, and where the time goes.

    python benchmarks/filter_speed.py [--run FOLDER | --exchanges 12000 | --hand-made 1000] [--profile]

Without a run, one is made of all worlds, an instance a service. Its sessions are read, rendered, parsed, validated,
executed again, judged and written, by the same functions as `carg filter`. CPU seconds of this process count: other
work on the machine stretches the wall clock. Loading the worlds and writing the shards are told apart. `--hand-made N`
takes N sessions of the library of the tests instead, which are quick to execute: what the filter itself takes.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests")]

from carg.filter import filter_part, finish  # noqa: E402 - found by the path above
from carg.pipeline import expand, generate  # noqa: E402
from carg.render import render_row  # noqa: E402
from carg.scene import Book, Scene, count_parts, open_book, read_scenes  # noqa: E402
from carg.world.replay import world_of  # noqa: E402


def make_run(run: Path, exchanges: int) -> Path:
    """A run of all worlds."""
    expand(run, n_instances=1)
    generate(run, n_exchanges=exchanges, width=1)
    return run


def filter_parts(book: Book, run: Path, out: Path) -> Iterator[int]:
    """The exchanges read of each part."""
    for number in range(count_parts(run)):
        report = filter_part(read_scenes(book, run, number), out, number, render=render_row)
        yield report.counts["exchanges/read"]


def hand_made(sessions: int, out: Path) -> Iterator[int]:
    """The exchanges of hand-made sessions, one part: a create, reads, a search, writes, refusals, a delete."""
    from scenes import REFEREES, play, render

    def scenes() -> Iterator[Scene]:
        for seed in range(sessions):
            yield play(
                ("search_books", {"limit": 1 + seed % 9, "sort": "-pages", "offset": seed // 9 % 400}),
                ("create_book", {"title": f"Tides {seed}", "pages": 1 + seed % 5000}),
                ("get_book", {"id": "B-501"}),
                ("update_book", {"id": "B-501", "pages": 1 + seed * 7 % 5000}),
                ("get_book", {"id": "B-100"}),
                ("lend_book", {"id": "B-501"}),
                ("get_book", {"id": "B-501", "shelf": seed}),
                ("delete_book", {"id": "B-501"}),
                ("get_book", {"id": "B-501"}),
                truth="code",
                seed=seed,
            )

    yield filter_part(list(scenes()), out, 0, render=render, referees=REFEREES).counts["exchanges/read"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", type=Path)
    parser.add_argument("--exchanges", type=int, default=12000)
    parser.add_argument("--hand-made", type=int)
    parser.add_argument("--profile", action="store_true")
    asked = parser.parse_args()
    profile = cProfile.Profile()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        if asked.hand_made:
            parts = hand_made(asked.hand_made, out)
        else:
            run = asked.run or make_run(Path(folder) / "run", asked.exchanges)
            book = open_book(run)
            for instance in book.instances.values():
                world_of(instance.domain, instance.domain_digest)
            parts = filter_parts(book, run, out)
        if asked.profile:
            profile.enable()
        cpu, wall = time.process_time(), time.perf_counter()
        n_read = sum(parts)
        judged_s, took_s = time.process_time() - cpu, time.perf_counter() - wall
        counts = finish(out).counts
        written_s = time.process_time() - cpu - judged_s
        profile.disable()
    print(f"{n_read} exchanges, {counts['rows/kept']} of {counts['rows/read']} rows kept")
    print(f"judged: {n_read / judged_s:.0f} exchanges/s per core by CPU time, {n_read / took_s:.0f}/s by the clock")
    print(f"with the shards: {n_read / (judged_s + written_s):.0f}/s per core by CPU time")
    if asked.profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    main()

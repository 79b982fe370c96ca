"""How many exchanges the filter judges a second on one core, all checks on, and where the time goes.

    python benchmarks/filter_speed.py [sessions] [--profile]

The sessions are those of the hand-made library of the tests: 9 exchanges each, rendered, parsed, validated, executed
again and judged. A real world costs more to execute and to render; this is what the filter itself takes.
"""

from __future__ import annotations

import cProfile
import pstats
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests")]

from scenes import REFEREES, play, render  # noqa: E402 - found by the path above

from carg.filter import filter_run  # noqa: E402
from carg.scene import Scene  # noqa: E402


def live(seed: int) -> Scene:
    """A session with a create, reads, a search, an update, an action, refusals and a delete."""
    return play(
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


def main() -> None:
    n_sessions = int(next((word for word in sys.argv[1:] if word.isdigit()), "1000"))
    scenes = [live(seed) for seed in range(n_sessions)]
    profile = cProfile.Profile() if "--profile" in sys.argv else None
    with tempfile.TemporaryDirectory() as folder:
        if profile:
            profile.enable()
        started = time.perf_counter()
        report = filter_run(scenes, Path(folder), render=render, referees=REFEREES)
        took_s = time.perf_counter() - started
    n_read = report.counts["exchanges/read"]
    print(
        f"{n_read} exchanges, {report.counts['rows/kept']} rows kept, {took_s:.1f} s: {n_read / took_s:.0f} exchanges/s"
    )
    if profile:
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(22)


if __name__ == "__main__":
    main()

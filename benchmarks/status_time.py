"""How long `carg status` takes in a first long visit: no stage is done, and the journals are large.

    python benchmarks/status_time.py [--replies 200000] [--behind 20000]

Writes journals as `carg generate --backend` leaves them in the middle of a visit: the sums are noted up to the last
`--behind` replies (ten seconds at 2,000 replies a second). Prints the median of 5 calls, each a process of its own.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from carg.journal import Journal
from carg.ledger import store_spent
from carg.runner import Outcome, Outcomes

TEXT = '{"ok": true, "body": {"note": "' + "x" * 800 + '"}, "error": null}'
CALLS_A_SLOT = 6


def write(folder: Path, first: int, last: int) -> None:
    """Replies first..last and the slots that they end."""
    reply = {
        "request": "a" * 32,
        "prompt": "respond",
        "attempt": 0,
        "model": "m",
        "text": TEXT,
        "finish_reason": "stop",
    }
    counts = {"tokens_in": 700, "tokens_out": 250, "cost": 0.0005}
    exchange = {"call": {"text": TEXT}, "response": {"text": TEXT}, "truth": "teacher"}
    with Journal(folder / "replies.jsonl") as replies, Journal(folder / "slots.jsonl") as journal:
        outcomes = Outcomes(journal)
        for number in range(first, last):
            replies.append({"key": f"{number:032x}", **reply, **counts})
            if number % CALLS_A_SLOT == 0:
                session = {"id": f"{number:032x}", "exchanges": [exchange] * CALLS_A_SLOT}
                outcomes.store(f"single/0/0/{number}", Outcome("accepted", {"sessions": [session]}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replies", type=int, default=200_000)
    parser.add_argument("--behind", type=int, default=20_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "generate"
        write(folder, 0, given.replies - given.behind)
        store_spent(folder)
        write(folder, given.replies - given.behind, given.replies)
        size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
        took = []
        for _ in range(5):
            began = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-m", "carg", "status", "--run", name], capture_output=True, text=True, check=True
            )
            took.append(time.perf_counter() - began)
    print(done.stdout)
    print(
        f"{given.replies:,} replies, {size:,.0f} MB of journals: status in {statistics.median(took):.2f} s, median of 5"
    )


if __name__ == "__main__":
    main()

"""How many answers a second the LLM road takes in: one process, direct HTTP, journal and checks included.

    python benchmarks/llm_rate.py [--rows 4000] [--width 256] [--delay 0.05] [--stray 0.0]

A loopback server (a process of its own) answers after `delay` seconds; `stray` is its share of 429 with Retry-After 1.
Prints rows/s from the first question to the last answer, CPU milliseconds a row of this process, and calls in flight.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from carg.asking import Ask
from carg.backends import open_backend
from carg.runner import Outcome, Outcomes, run_slots
from carg.store import Journal

SERVER = Path(__file__).parents[1] / "tests" / "loopback.py"
SCHEMA = {
    "type": "object",
    "properties": {
        "ok": {"const": True},
        "body": {"type": "object", "properties": {"note": {"type": "string", "maxLength": 2000}}},
        "error": {"type": "null"},
    },
    "required": ["ok", "body", "error"],
    "additionalProperties": False,
}


async def run(url: str, folder: Path, rows: int, width: int) -> None:
    async with open_backend("m", api_base=url) as backend:
        with Journal(folder / "replies.jsonl") as replies, Journal(folder / "slots.jsonl") as journal:
            ask, outcomes = Ask(backend, replies, "m", width=width), Outcomes(journal)

            async def make(number: int) -> Outcome:
                variables = dict.fromkeys(("documentation", "definition", "state", "history", "verdict"), "x" * 100)
                value = await ask("respond", {**variables, "call": {"n": number}}, schema=SCHEMA)
                return Outcome("accepted", {"answers": [value]})

            slots = {str(number): number for number in range(rows)}
            await run_slots(slots.items(), make, width=4 * width, on_done=outcomes.store)
            assert outcomes.tally(slots).accepted == rows
            print(f"429s waited out: {ask.totals().rate_limited}, gate at the end: {ask.gate.limit} of {width}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--delay", type=float, default=0.05)
    parser.add_argument("--stray", type=float, default=0.0)
    given = parser.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(SERVER), str(port), str(given.delay), str(given.stray)]
    server = subprocess.Popen(command)
    try:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        with tempfile.TemporaryDirectory() as folder:
            warm = Path(folder) / "warm"
            asyncio.run(run(f"http://127.0.0.1:{port}/v1", warm, 50, 8))
            began, cpu = time.perf_counter(), time.process_time()
            asyncio.run(run(f"http://127.0.0.1:{port}/v1", Path(folder), given.rows, given.width))
            seconds, spent = time.perf_counter() - began, time.process_time() - cpu
    finally:
        server.kill()
        server.wait()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{given.rows / seconds:.0f} rows/s, {1000 * spent / given.rows:.2f} ms of CPU a row, peak {peak:.0f} MB")


if __name__ == "__main__":
    main()

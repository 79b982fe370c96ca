"""How many answers a second each road to an LLM takes in: one process, with journal and checks.

    python benchmarks/llm_rate.py [--road direct] [--against bare] [--pairs 3]
                                  [--rows 4000] [--width 256] [--delay 0.05] [--stray 0.0]

    direct       an OpenAI-compatible server by --api-base
    translated   a litellm provider, translated by litellm and sent over our own session
    litellm      the same by `litellm.acompletion` (CARG_LITELLM=full)
    bare         a plain loop over `litellm.acompletion`, without carg: neither journal nor checks

A loopback server (a process of its own) answers after `delay` seconds; `stray` is its share of 429 with Retry-After 1.
Each run is a process of its own. Prints rows/s from the first question to the last answer, and to the answer that makes
95 % (with strays the last rows sit out their Retry-After: a second or two at the end, however long the run); CPU
milliseconds a row; peak memory. With --against, two kinds of run take turns, and the medians of the ratios are printed:
against another road; `calm`, the same without strays; `small`, the same with a tenth of the rows.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.append(str(Path(__file__).parent / "peers"))

from questions import SCHEMA

from carg.asking import Ask
from carg.backends import open_backend
from carg.journal import Journal
from carg.pacing import Pace
from carg.runner import Outcome, Outcomes, run_slots

SERVER = Path(__file__).parents[1] / "tests" / "loopback.py"
ROADS = ("direct", "translated", "litellm", "bare")
MODEL = "openai/gpt-4o-mini"


async def by_carg(url: str | None, folder: Path, rows: int, width: int) -> tuple[int, float]:
    """How many 429s were waited out, and when 95 % of the rows were done."""
    most, n_done = 0.0, 0
    pace = Pace()
    async with open_backend(MODEL, api_base=url, pace=pace) as backend:
        with Journal(folder / "replies.jsonl") as replies, Journal(folder / "slots.jsonl") as journal:
            ask, outcomes = Ask(backend, replies, "m", width=width, pace=pace), Outcomes(journal)

            async def make(number: int) -> Outcome:
                variables = dict.fromkeys(("documentation", "definition", "state", "history", "verdict"), "x" * 100)
                value = await ask("respond", {**variables, "call": {"n": number}}, schema=SCHEMA)
                return Outcome("accepted", {"answers": [value]})

            def store(name: str, outcome: Outcome) -> None:
                nonlocal most, n_done
                outcomes.store(name, outcome)
                if (n_done := n_done + 1) == rows * 95 // 100:
                    most = time.perf_counter()

            slots = {str(number): number for number in range(rows)}
            await run_slots(slots.items(), make, width=4 * width, on_done=store)
            assert outcomes.tally(slots).accepted == rows
            assert ask.gate.limit == width
            return ask.totals().rate_limited, most


async def bare(rows: int, width: int) -> tuple[int, float]:
    """The same questions by acompletion alone."""
    import litellm

    from carg.prompts import load_prompt, render_prompt

    prompt, numbers, most = load_prompt("respond"), iter(range(rows)), 0.0

    async def work() -> None:
        nonlocal most
        for number in numbers:
            most = most or (number >= rows * 95 // 100 and time.perf_counter())
            variables = dict.fromkeys(("documentation", "definition", "state", "history", "verdict"), "x" * 100)
            messages = render_prompt(prompt, {**variables, "call": {"n": number}})
            schema = {"name": "respond", "schema": SCHEMA, "strict": False}
            answer = await litellm.acompletion(
                model=MODEL,
                messages=[dict(message) for message in messages],
                response_format={"type": "json_schema", "json_schema": schema},
                max_retries=0,
            )
            assert answer.choices[0].message.content

    await asyncio.gather(*(work() for _ in range(width)))
    await litellm.close_litellm_async_clients()
    return 0, most


def measure(road: str, url: str, rows: int, width: int) -> dict[str, float]:
    """One run in this process, warmed up first."""
    os.environ |= {"OPENAI_API_KEY": "sk-bench-0000000000", "OPENAI_API_BASE": url}
    os.environ |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "CARG_LITELLM": "full" if road == "litellm" else ""}
    with tempfile.TemporaryDirectory() as folder:
        for part, n_rows, n_wide in (("warm", 50, 8), ("run", rows, width)):
            began, cpu = time.perf_counter(), time.process_time()
            base = url if road == "direct" else None
            run = bare(n_rows, n_wide) if road == "bare" else by_carg(base, Path(folder) / part, n_rows, n_wide)
            strays, most = asyncio.run(run)
        seconds, spent = time.perf_counter() - began, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "rows/s": rows / seconds,
        "rows/s to 95 %": rows * 0.95 / (most - began),
        "ms of CPU a row": 1000 * spent / rows,
        "MB at most": peak,
        "429s": strays,
    }


@contextlib.contextmanager
def serving(delay: float, stray: float) -> Iterator[str]:
    """The address of a loopback server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([sys.executable, str(SERVER), str(port), str(delay), str(stray)])
    try:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.kill()
        server.wait()


def run_once(road: str, given: argparse.Namespace, *, rows: int, stray: float) -> dict[str, float]:
    """What a process of its own measured, against a server of its own."""
    with serving(given.delay, stray) as url:
        command = [sys.executable, __file__, "--road", road, "--rows", str(rows), "--width", str(given.width)]
        done = subprocess.run([*command, "--url", url], check=True, stdout=subprocess.PIPE)
    found: dict[str, float] = json.loads(done.stdout)
    told = ", ".join(f"{value:.3g} {name}" if value < 10 else f"{value:.0f} {name}" for name, value in found.items())
    print(f"{road:11} {rows} rows, {stray:.0%} strays: {told}; load {os.getloadavg()[0]:.1f}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--road", choices=ROADS, default="direct")
    parser.add_argument("--against", choices=(*ROADS, "calm", "small"))
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--delay", type=float, default=0.05)
    parser.add_argument("--stray", type=float, default=0.0)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.url:
        print(json.dumps(measure(given.road, given.url, given.rows, given.width)))
        return
    if not given.against:
        run_once(given.road, given, rows=given.rows, stray=given.stray)
        return
    other = given.against if given.against in ROADS else given.road
    rows = given.rows // 10 if given.against == "small" else given.rows
    stray = 0.0 if given.against == "calm" else given.stray
    pairs = []
    for _ in range(given.pairs):
        theirs = run_once(other, given, rows=rows, stray=stray)
        pairs.append((run_once(given.road, given, rows=given.rows, stray=given.stray), theirs))
    for name in ("rows/s", "rows/s to 95 %", "ms of CPU a row", "MB at most"):
        ratios = [ours[name] / theirs[name] for ours, theirs in pairs]
        print(f"{name}: {statistics.median(ratios):.2f} of {given.against} ({min(ratios):.2f}-{max(ratios):.2f})")


if __name__ == "__main__":
    main()

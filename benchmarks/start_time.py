"""How long `carg --help` takes in a fresh process, and that it loads none of the heavy packages.

python benchmarks/start_time.py [times]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

HEAVY = {"torch", "transformers", "litellm", "polars", "pyarrow"}
MOST_S = 0.3
HELP = [sys.executable, "-m", "carg", "--help"]


def time_help() -> float:
    """Seconds of one start, the interpreter included."""
    started = time.perf_counter()
    subprocess.run(HELP, check=True, capture_output=True)
    return time.perf_counter() - started


def loaded_packages() -> set[str]:
    """The packages that a start imports."""
    told = subprocess.run([sys.executable, "-X", "importtime", *HELP[1:]], check=True, capture_output=True, text=True)
    names = (line.rpartition("|")[2].strip() for line in told.stderr.splitlines())
    return {name.partition(".")[0] for name in names}


def main() -> None:
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    time_help()  # Once unmeasured, so that bytecode is there.
    took_s = statistics.median(time_help() for _ in range(times))
    heavy = sorted(HEAVY & loaded_packages())
    print(
        f"carg --help: {took_s * 1000:.0f} ms (median of {times}); heavy packages loaded: {', '.join(heavy) or 'none'}"
    )
    sys.exit(took_s >= MOST_S or bool(heavy))


if __name__ == "__main__":
    main()

"""A whole run of the worlds, and what a classifier can guess from the calls alone: expand, generate, filter, stats.

    python benchmarks/leaks.py [--exchanges 64000] [--instances 5] [--run FOLDER]

Some 500 positives of each class are needed to measure it; fewer exchanges leave rare classes out. Prints the tables.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time


def carg(*words: str) -> None:
    """Run a command; what it prints is shown, its progress is not."""
    started = time.perf_counter()
    code = subprocess.run([sys.executable, "-m", "carg", *words], stderr=subprocess.DEVNULL, check=False).returncode
    print(f"carg {' '.join(words)}: {time.perf_counter() - started:.0f} s\n", flush=True)
    if code:
        sys.exit(code)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--exchanges", default="64000")
    parser.add_argument("--instances", default="5")
    parser.add_argument("--run")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = ("--run", asked.run or folder)
        carg("expand", *run, "--instances", asked.instances)
        carg("generate", *run, "--exchanges", asked.exchanges)
        carg("filter", *run)
        carg("stats", "leaks", *run)
        carg("stats", "tools", *run)


if __name__ == "__main__":
    main()

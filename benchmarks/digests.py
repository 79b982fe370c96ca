"""Same seed, same digest: with 1 and 2 workers, and after kill -9 at drawn moments of generate and filter.

    python benchmarks/digests.py [--exchanges 3000] [--kills 3] [--seed 0] [--domains a,b]

Runs the command line in processes of their own. Each kill strikes the whole process group at a moment between start and
usual end; then the same command runs again until it is done. Exits with 1 where a digest differs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random

MANIFESTS = {"generate": "generate/generate.manifest.json", "filter": "filter.manifest.json"}


def carg(*words: str) -> subprocess.Popen[bytes]:
    """A command under way, in a process group of its own."""
    command, nowhere = [sys.executable, "-m", "carg", *words], subprocess.DEVNULL
    return subprocess.Popen(command, start_new_session=True, stdout=nowhere, stderr=nowhere)


def finish(*words: str) -> float:
    """Seconds that the command took; exits where it failed."""
    started = time.perf_counter()
    if code := carg(*words).wait():
        sys.exit(f"carg {' '.join(words)}: exit {code}")
    return time.perf_counter() - started


def kill_within(words: tuple[str, ...], after_s: float) -> bool:
    """Whether the command was still at work when it was killed."""
    process = carg(*words)
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False


def digest_of(run: Path, stage: str) -> str:
    """The digest that a finished stage wrote."""
    return str(json.loads((run / MANIFESTS[stage]).read_text())["digest"])


def words_of(stage: str, run: Path, workers: int, exchanges: int) -> tuple[str, ...]:
    """The command of a stage."""
    size = ("--exchanges", str(exchanges)) if stage == "generate" else ()
    return stage, "--run", str(run), "--workers", str(workers), *size


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--exchanges", type=int, default=3000)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--domains", default="")
    asked = parser.parse_args()
    rng, found = Random(asked.seed), dict[str, set[str]]()
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "base"
        chosen = [word for name in asked.domains.split(",") if name for word in ("--domains", name)]
        finish("expand", "--run", str(base), "--instances", "1", *chosen)
        for stage in MANIFESTS:
            took_s = 0.0
            for workers in (1, 2):
                run = Path(folder) / f"{stage}-{workers}"
                shutil.copytree(base, run)
                took_s = finish(*words_of(stage, run, workers, asked.exchanges))
                print(f"{stage}, {workers} workers: {took_s:.1f} s, digest {digest_of(run, stage)[:16]}")
                found.setdefault(stage, set()).add(digest_of(run, stage))
            run = Path(folder) / f"{stage}-killed"
            shutil.copytree(base, run)
            for number in range(asked.kills):  # What was made stays: each attempt has less to do.
                after_s = rng.uniform(0.1, 0.9) * took_s / (1 + number)
                while not kill_within(words_of(stage, run, 2, asked.exchanges), after_s):
                    # It was done before: once more from the start, and sooner.
                    shutil.rmtree(run)
                    shutil.copytree(base, run)
                    after_s /= 2
            finish(*words_of(stage, run, 2, asked.exchanges))
            print(f"{stage}, killed {asked.kills} times and run again: digest {digest_of(run, stage)[:16]}")
            found[stage].add(digest_of(run, stage))
            base = run
    same = all(len(digests) == 1 for digests in found.values())
    print("all digests of a stage are the same" if same else "DIGESTS DIFFER")
    sys.exit(not same)


if __name__ == "__main__":
    main()

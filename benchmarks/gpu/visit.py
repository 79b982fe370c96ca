"""One call of the programme: how large everything is, what time is left, and how a step runs a command within it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
AGAIN = 75
"""Exit code: call again."""


class NotYet(Exception):
    """A step needs another visit."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large everything is."""

    domains: tuple[str, ...]
    """Empty: all."""
    exchanges: int
    workers: int
    init: str
    train_minutes: float
    finetune: tuple[str, ...]
    decode: tuple[str, ...]
    evaluate: int
    """Exchanges of each split."""
    answer_tokens: int
    piece_bytes: int


@dataclass(frozen=True, slots=True)
class Visit:
    """One call of the programme."""

    work: Path
    out: Path
    dry: bool
    sizes: Sizes
    ends: float
    """time.monotonic() at which everything must have stopped."""

    @property
    def left(self) -> float:
        """Seconds."""
        return self.ends - time.monotonic()

    def result(self, step: str) -> Path:
        """Where the result of a step lies once it is done."""
        return self.work / "results" / f"{step}.json"


def sizes_of(dry: bool, minutes: float | None, exchanges: int | None) -> Sizes:
    """The sizes of a dry or a real run; generating and checking 60,000 exchanges takes a core about two minutes."""
    if dry:
        domains, tuned = ("beekeeping", "freight"), ("--eval-rows", "2", "--context", "3072")
        decode = ("--batches", "1", "4", "--waves", "1", "--max-new-tokens", "16", "--device", "cpu")
        return Sizes(domains, exchanges or 240, 2, "tiny", minutes or 0.15, tuned, decode, 3, 16, 1_000_000)
    workers = max(1, (os.cpu_count() or 4) - 3)
    tuned = ("--checkpoint-every", "400", "--eval-every", "1000", "--epochs", "100")
    decode = ("--batches", "8", "64", "256", "--waves", "4", "--max-new-tokens", "512", "--items", "1024")
    made = exchanges or min(60_000 * workers, 800_000)
    return Sizes((), made, workers, "small", minutes or 9.0, tuned, decode, 2000, 512, 15_000_000)


def give_up(visit: Visit, name: str) -> bool:
    """Whether a step failed for the second time."""
    failed = visit.work / "results" / f"{name}.failed"
    if failed.exists():
        return True
    failed.touch()
    return False


def tell(visit: Visit, text: str) -> None:
    """A line on the screen and in the log."""
    line = f"{time.strftime('%H:%M:%S')} {text}"
    print(line, flush=True)
    with (visit.work / "programme.log").open("a") as log:
        log.write(line + "\n")


def write(path: Path, made: Any) -> None:
    """Write JSON whole or not at all."""
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(made, indent=1))
    draft.rename(path)


def call(visit: Visit, name: str, words: list[Any], *, spare_s: float = 20.0) -> str:
    """Standard output of a Python command. At the end of the visit it is told to end (SIGTERM), then NotYet is raised.

    Raises RuntimeError with the end of its log where it fails.
    """
    log = visit.work / "logs" / f"{name}.log"
    told = visit.work / "logs" / f"{name}.out"
    with log.open("ab") as errors, told.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, *map(str, words)], cwd=ROOT, env=environ(visit), stdout=output, stderr=errors
        )
        try:
            code = child.wait(max(1.0, visit.left - spare_s))
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(max(5.0, visit.left - 10))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            raise NotYet("goes on in the next visit") from None
    if code == AGAIN:
        raise NotYet("goes on in the next visit")
    if code:
        raise RuntimeError(f"exit {code}: {log.read_text(errors='replace')[-2000:]}")
    return told.read_text()


def carg(visit: Visit, name: str, *words: Any, spare_s: float = 20.0) -> str:
    """What a command of carg prints."""
    return call(visit, name, ["-m", "carg", *words], spare_s=spare_s)


def environ(visit: Visit) -> dict[str, str]:
    """The environment of children: this tree, and the packages that were carried."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", ""), str(visit.work / "site")]
    offline = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true", "PYTHONUNBUFFERED": "1"}
    return {**os.environ, **offline, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}

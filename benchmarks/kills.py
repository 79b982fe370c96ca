"""kill -9 at drawn events of a run by a model: what is paid again, lost or doubled, and whether the digest is the same.

    python benchmarks/kills.py [--kills 20] [--seed 0] [--tools 40] [--exchanges 200] [--width 8]

An event is a place before, in the middle of or after an append to a journal, or before or after a sync or a rename, of
`carg run` (expand and generate) in a process of its own. Each kill has a run of its own: killed at the event, then run
again to its end. The server (tests/loopback.py) cuts 1 % of its answers and spoils 5 %, the same ones each time.
Exits with 1 where a claim does not hold.
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
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

CALLS = {"append": "pwrite", "journal sync": "fdatasync", "file sync": "fsync", "rename": "replace"}
KINDS = tuple(
    f"{when} {what}" for what in CALLS for when in ("before", "in", "after") if when != "in" or what == "append"
)
SPOILED = {"length": 0.01, "nonsense": 0.05}


def strike(kind: str, number: int, out: Path, words: list[str]) -> None:
    """`carg words` in this process, killed at event `number` of a kind; `out` gets how many of each kind there were."""
    seen: Counter[str] = Counter()

    def event(name: str) -> None:
        seen[name] += 1
        if (name, seen[name]) == (kind, number):
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(what: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*given: Any) -> Any:
            event(f"before {what}")
            if what == "append":
                seen["in append"] += 1
                if (kind, number) == ("in append", seen["in append"]):
                    call(given[0], given[1][: len(given[1]) // 2], *given[2:])
                    os.kill(os.getpid(), signal.SIGKILL)
            result = call(*given)
            event(f"after {what}")
            return result

        return watched

    for what, name in CALLS.items():
        setattr(os, name, watch(what, getattr(os, name)))
    from carg.cli import main

    sys.argv = ["carg", *words]
    try:
        main()
    finally:
        out.write_text(json.dumps(seen))


def visit(config: Path, kind: str = "", number: int = 0) -> tuple[int, dict[str, int]]:
    """The exit code of one `carg run`, and its events by kind where it came to its end."""
    out = config.with_suffix(".events")
    words = [kind, str(number), str(out), "--quiet", "run", "--config", str(config)]
    code = subprocess.run(
        [sys.executable, __file__, "--strike", *words], cwd=ROOT, stdout=subprocess.DEVNULL
    ).returncode
    return code, json.loads(out.read_text()) if code >= 0 else {}


def prepare(folder: Path, name: str, url: str, given: argparse.Namespace) -> Path:
    """The config of a run over two domains that nobody built a world for."""
    asked = f'backend = "m"\napi-base = "{url}"\nwidth = {given.width}\n'
    text = f'[run]\nfolder = "{folder / name}"\n[expand]\ndomains = ["museums", "invoicing"]\ntools = {given.tools}\n'
    path = folder / f"{name}.toml"
    path.write_text(f"{text}{asked}[generate]\nexchanges = {given.exchanges}\n{asked}")
    return path


def judge(run: Path) -> dict[str, Any]:
    """What a finished run holds: digests, slots, ids of records as texts, and answers not taken by reason."""
    found: dict[str, Any] = {"slots": [], "ids": []}
    for stage, stems in (("expand", ("tools", "instances")), ("generate", ("sessions",))):
        manifest = json.loads((run / stage / f"{stage}.manifest.json").read_text())
        found[stage] = manifest["digest"], manifest["unusable"]
        found["slots"] += [f"{stage}/{json.loads(line)['slot']}" for line in lines_of(run / stage / "slots.jsonl")]
        for path in sorted(path for stem in stems for path in (run / stage).glob(f"{stem}-*.jsonl")):
            found["ids"] += [str(json.loads(line)["id"]) for line in lines_of(path)]
    return found


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("kills", 20), ("seed", 0), ("tools", 40), ("exchanges", 200), ("width", 8)):
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    from loopback import KEY, serve  # type: ignore[import-not-found]

    os.environ["CARG_API_KEY"] = KEY
    rng, bad = Random(given.seed), 0
    with tempfile.TemporaryDirectory() as name, serve() as server:
        # Drawn by the request alone, not by the number of the try: what a killed run asks again is spoiled again.
        server._misbehaviour = spoil
        server.delay_s = 0.005
        folder = Path(name)
        quiet = prepare(folder, "quiet", server.url, given)
        code, events = visit(quiet)
        truth, n_quiet = judge(folder / "quiet"), server.n_paid
        print(f"quiet run: exit {code}, {n_quiet} replies, events {events}, answers not taken {truth['generate'][1]}")
        for at in range(given.kills):
            kind = rng.choice([kind for kind in KINDS if events.get(kind)])
            number = rng.randint(1, events[kind])
            while True:  # Syncs go by the clock: where there were fewer this time, an earlier one is taken.
                config, before = prepare(folder, f"k{at}", server.url, given), server.n_paid
                if visit(config, kind, number)[0] == -signal.SIGKILL:
                    break
                shutil.rmtree(folder / f"k{at}")
                number = max(1, number // 2)
            ended = visit(config)[0]
            found = judge(folder / f"k{at}")
            again = server.n_paid - before - n_quiet
            lost, doubled = set(truth["slots"]) - set(found["slots"]), len(found["slots"]) - len(set(found["slots"]))
            twice = len(found["ids"]) - len(set(found["ids"]))
            same = {stage: truth[stage] == found[stage] for stage in ("expand", "generate")}
            sound = ended == 0 and again <= given.width and not lost and not doubled and not twice
            sound = sound and all(same.values()) and sorted(truth["ids"]) == sorted(found["ids"])
            bad += not sound
            print(
                f"{at + 1:2} {kind} {number} of {events[kind]}: killed, then exit {ended}; paid again {again}, "
                f"slots lost {len(lost)}, doubled {doubled}, ids doubled {twice}; "
                f"digest and reasons the same {same['expand'] and same['generate']}{'' if sound else '  <-- NOT SOUND'}"
            )
    print(f"{given.kills - bad} of {given.kills} kills sound; at most {given.width} calls were in flight")
    sys.exit(bool(bad))


def spoil(key: str) -> str:
    """How the answer to a request is spoiled, "" where it is sound."""
    spot = Random(key).random()
    for kind, share in SPOILED.items():
        if spot < share:
            return kind
        spot -= share
    return ""


if __name__ == "__main__":
    if sys.argv[1:2] == ["--strike"]:
        strike(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]), sys.argv[5:])
    else:
        main()

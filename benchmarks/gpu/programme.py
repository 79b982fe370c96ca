"""The whole GPU programme of carg in one resumable command, for a bare machine without a network.

    python benchmarks/gpu/programme.py --work /tmp/work --out "$OUT"      # again and again, until it exits 0
    python benchmarks/gpu/programme.py --work /tmp/work --out out --dry   # everything at toy size, on a CPU

Each visit goes on where the last one stopped, ends itself in under nine minutes, and leaves in --out what is new: at
most eight flat files of at most 15 MB. Exit 75: call again; 0: all is done. README.md beside this says what comes back.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import pieces
import report
from visit import AGAIN, HERE, ROOT, NotYet, Visit, call, carg, give_up, sizes_of, tell, write

PIECES_A_VISIT = 3
"""With results, table, log, manifest and the small files of the model, eight files leave at once."""


class Step(NamedTuple):
    """A step: what it returns is its result. `least_s` is what it needs to get anywhere."""

    name: str
    work: Callable[[Visit], Any]
    least_s: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="kept from visit to visit")
    parser.add_argument("--out", type=Path, required=True, help="what is new comes here")
    parser.add_argument("--minutes", type=float, help="of training; default 9")
    parser.add_argument("--exchanges", type=int, help="of the corpus; default by the number of cores")
    parser.add_argument("--visit-minutes", type=float, default=8.6, help="how long one call may take")
    parser.add_argument("--dry", action="store_true", help="toy sizes, on any machine")
    parser.add_argument("--corpus", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    work = options.work.resolve()
    sizes = sizes_of(options.dry, options.minutes, options.exchanges)
    visit = Visit(work, options.out.resolve(), options.dry, sizes, time.monotonic() + options.visit_minutes * 60)
    for folder in (work / "results", work / "logs", visit.out):
        folder.mkdir(parents=True, exist_ok=True)
    if options.corpus:
        make_corpus(visit)
        return
    with (work / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"{work}: another visit is at work there")
        sys.exit(walk(visit))


def walk(visit: Visit) -> int:
    """Do the steps that are due while there is time; the exit code."""
    code = 0
    for step in STEPS:
        if visit.result(step.name).exists():
            continue
        if visit.left < step.least_s and not visit.dry:
            tell(visit, f"{step.name}: no time left in this visit")
            code = AGAIN
            break
        began = time.monotonic()
        try:
            made = step.work(visit)
        except NotYet as reason:
            tell(visit, f"{step.name}: {reason}")
            code = AGAIN
            break
        except Exception as fault:  # a step that cannot be done must not keep the others from being done
            if not give_up(visit, step.name):
                tell(visit, f"{step.name}: failed, the next visit tries again: {fault}")
                code = AGAIN
                break
            made = {"failed": str(fault)}
        write(visit.result(step.name), {"seconds": round(time.monotonic() - began, 1), "result": made})
        tell(visit, f"{step.name}: done in {time.monotonic() - began:.0f} s")
    shutil.copy(visit.work / "programme.log", visit.out)
    report.write(visit.work, visit.out)
    tell(visit, "call again" if code else "all is done")
    return code


def environment(visit: Visit) -> Any:
    """What the machine is; packages that it lacks are put beside the work from benchmarks/gpu/wheels.

    Into a folder, not a venv: the Python of such images is a venv itself, and a venv made in it would not see torch.
    """
    missing = [wheel for wheel in sorted((HERE / "wheels").glob("*.whl")) if version(wheel.name) is None]
    if missing:
        site = ["--target", visit.work / "site", *missing]
        call(
            visit, "pip", ["-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-compile", "--upgrade", *site]
        )
    seen = call(visit, "environment", ["-c", SEE])
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return {
        "python": platform.python_version(),
        "machine": platform.platform(),
        "cores": os.cpu_count(),
        "commit": commit.stdout.strip() or os.environ.get("CARG_COMMIT", ""),
        "command": " ".join(sys.argv),
        "sizes": asdict(visit.sizes),
        "installed": [wheel.name for wheel in missing],
        **json.loads(seen.splitlines()[-1]),
    }


def version(wheel: str) -> str | None:
    """The version of the distribution that a wheel holds, as the machine has it."""
    try:
        return metadata.version(wheel.partition("-")[0])
    except metadata.PackageNotFoundError:
        return None


SEE = """
import json, importlib
from importlib import metadata
names = 'torch transformers tokenizers safetensors numpy pyarrow llguidance orjson jsonschema jsonschema-rs click rich'
seen = {}
for name in [*names.split(), 'tenacity', 'pyyaml']:
    try: seen[name] = metadata.version(name)
    except metadata.PackageNotFoundError: seen[name] = None
import torch
from torch.nn.attention import varlen
gpu = torch.cuda.get_device_properties(0) if torch.cuda.is_available() else None
import carg.cli, carg.finetune, carg.gtm.decode, carg.evaluate
print(json.dumps({'packages': seen, 'cuda': torch.version.cuda, 'gpu': gpu and gpu.name,
    'gpu_gb': gpu and gpu.total_memory / 1e9, 'varlen': str(__import__('inspect').signature(varlen.varlen_attn))}))
"""


def start_corpus(visit: Visit) -> Any:
    """Have the corpus made beside everything else, in a session of its own that outlives the visit."""
    begin_corpus(visit)
    return {"workers": visit.sizes.workers}


def begin_corpus(visit: Visit) -> None:
    """Start it, or start it again."""
    words = ["--work", visit.work, "--out", visit.out, "--exchanges", visit.sizes.exchanges, "--corpus"]
    with (visit.work / "logs" / "corpus.log").open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, __file__, *map(str, words), *(["--dry"] if visit.dry else [])],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    (visit.work / "corpus.pid").write_text(str(child.pid))


def make_corpus(visit: Visit) -> None:
    """expand, generate, filter: each goes on where it was interrupted."""
    visit = Visit(visit.work, visit.out, visit.dry, visit.sizes, time.monotonic() + 3600)
    sizes, run = visit.sizes, visit.work / "run"
    domains = [word for domain in sizes.domains for word in ("-d", domain)]
    made: dict[str, Any] = {}
    for stage, words in (
        ("expand", domains),
        ("generate", ["--exchanges", sizes.exchanges, "--workers", sizes.workers]),
        ("filter", ["--workers", sizes.workers]),
    ):
        began = time.monotonic()
        told = json.loads(carg(visit, stage, "--json", "--quiet", stage, "--run", run, *words))
        made[stage] = {"seconds": round(time.monotonic() - began, 1), "counts": told.get("counts", told)}
    write(visit.result("corpus"), {"result": made})


def wait_for_corpus(visit: Visit) -> Any:
    """Return when the corpus is whole; start its making again where it died."""
    pid = int((visit.work / "corpus.pid").read_text())
    while not visit.result("corpus").exists():
        if visit.left < 15:
            raise NotYet("the corpus is still being made")
        if not is_running(pid):
            if give_up(visit, "corpus"):
                raise RuntimeError((visit.work / "logs" / "corpus.log").read_text(errors="replace")[-2000:])
            begin_corpus(visit)
            pid = int((visit.work / "corpus.pid").read_text())
        time.sleep(1)
    return {}


def is_running(pid: int) -> bool:
    """Whether that process is ours and not yet over."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # a child that has ended would else stay in the list
    try:
        return b"--corpus" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def measure(step: str) -> Callable[[Visit], Any]:
    """A step of steps.py, which goes on in its own file."""

    def work(visit: Visit) -> Any:
        into = visit.work / f"{step}.json"
        dry = ["--dry"] if visit.dry else []
        call(visit, step, [HERE / "steps.py", step, "--into", into, *dry])
        return json.loads(into.read_text())

    return work


def train(visit: Visit) -> Any:
    """The model from scratch; finetune's own checkpoints carry it from visit to visit."""
    sizes, model = visit.sizes, visit.work / "model"
    words = ["--run", visit.work / "run", "--out", model, "--init", sizes.init, "--minutes", sizes.train_minutes]
    told = carg(visit, "train", "--json", "--quiet", "finetune", *words, *sizes.finetune, spare_s=50)
    lines = [json.loads(line) for line in (model / "train.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "loss" in line]
    kept = ("step", "loss", "accuracy", "tokens_per_s", "mfu", "tokens", "memory_bytes", "elapsed_s")
    curve = [{name: line[name] for name in kept} for line in steps[:: max(1, len(steps) // 60)]]
    return {"report": json.loads(told), "curve": curve, "evals": [line for line in lines if "eval" in line]}


def decode(visit: Visit) -> Any:
    """Exchanges a second of batched decoding, on held-out calls."""
    into, run = visit.work / "decode.json", visit.work / "run"
    words = ["--run", run, "--model", visit.work / "model", "--json", into, *visit.sizes.decode]
    call(visit, "decode", [ROOT / "benchmarks" / "decode_speed.py", *words])
    return json.loads(into.read_text())


def evaluate(visit: Visit) -> Any:
    """All measures on unseen tools and domains, beside world, echo and nearest; answers are kept between visits."""
    run, out = visit.work / "run", visit.work / "evaluation.json"
    names = ("world", "twin", "echo", "nearest", f"gtm:{visit.work / 'model'}")
    backends = [word for name in names for word in ("-b", name)]
    shards = run / "dataset" / "simulator"
    held = [split for split in ("test_tools", "test_domains") if list(shards.glob(f"{split}-*"))]
    splits = [word for split in held for word in ("--split", split)]
    limits = ["--limit", visit.sizes.evaluate, "--sampling", f"max_tokens={visit.sizes.answer_tokens}", "--out", out]
    words = [run / "dataset", *backends, *splits, "--compare", *limits]
    table = carg(visit, "evaluate", "evaluate", *words)
    return {"table": table, "report": json.loads(out.read_text())}


def weights(visit: Visit) -> Any:
    """The weights in bf16, in pieces, a few a visit; with the first of them all that a model folder needs besides."""
    model, home = visit.work / "model", visit.work / "pieces"
    manifest = home / "weights.json"
    if not manifest.exists():
        home.mkdir(exist_ok=True)
        call(visit, "weights", ["-c", HALVE, model, home / "weights.safetensors"])
        pieces.split(home / "weights.safetensors", home, most_bytes=visit.sizes.piece_bytes)
    small = visit.work / "model-files.tgz"
    if not small.exists():
        with tarfile.open(small, "w:gz") as tar:
            for path in sorted(path for path in model.iterdir() if path.is_file() and path.suffix != ".safetensors"):
                tar.add(path, path.name)
        for path in (small, manifest):
            shutil.copy(path, visit.out)
    told = json.loads(manifest.read_text())
    sent = visit.work / "sent"
    n_sent = int(sent.read_text()) if sent.exists() else 0
    now = [piece["name"] for piece in told["pieces"][n_sent : n_sent + PIECES_A_VISIT]]
    for name in now:
        shutil.copy(home / name, visit.out)
    sent.write_text(str(n_sent + len(now)))
    if n_sent + len(now) < len(told["pieces"]):
        raise NotYet(f"{n_sent + len(now)} of {len(told['pieces'])} pieces are out")
    return told


HALVE = """
import sys, torch
from pathlib import Path
from safetensors.torch import load_file, save_file
whole = {}
for part in sorted(Path(sys.argv[1]).glob('*.safetensors')): whole.update(load_file(part))
save_file({k: v.to(torch.bfloat16) for k, v in whole.items()}, sys.argv[2], metadata={'format': 'pt'})
"""

STEPS = (
    Step("environment", environment, 60),
    Step("start", start_corpus, 5),
    Step("parity", measure("parity"), 60),
    Step("speed", measure("speed"), 90),
    Step("wait", wait_for_corpus, 20),
    Step("train", train, 120),
    Step("decode", decode, 150),
    Step("evaluate", evaluate, 90),
    Step("weights", weights, 20),
)

if __name__ == "__main__":
    main()

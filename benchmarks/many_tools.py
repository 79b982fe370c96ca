"""All domains expand to the tools asked for against a server that is hard to please, and every tool is looked at anew.

    python benchmarks/many_tools.py [--tools 20000] [--run FOLDER]

A test of the machinery: the texts are those of our own server (tests/hard_to_please.py), so nothing is said about any
model. Counted are calls, seconds, memory, candidates refused by check, predicates and effects by the verdict of their
trial; then an independent pass runs every check on every tool and looks for pairs whose true Jaccard similarity (word
3-shingles of name, description and parameters) is above 0.8.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

import orjson

from carg.checks import judge_tool
from carg.checks.corpus import exact_duplicates, near_duplicates, sign_tool
from carg.records import Instance, Tool
from carg.store import read_manifest, read_parts

ROOT = Path(__file__).parent.parent
THRESHOLD = 0.8


def main() -> None:
    """Serves, expands, and says what came of it."""
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--tools", type=int, default=20_000)
    given.add_argument("--run", type=Path)
    given.add_argument("--width", type=int, default=64)
    options = given.parse_args()
    folder = options.run or Path(tempfile.mkdtemp()) / "run"
    command = [sys.executable, "tests/hard_to_please.py"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            seconds = _expand(folder, server.stdout.readline().strip(), options.tools, options.width)
        finally:
            server.kill()
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    _tell(folder, seconds, peak)


def _expand(folder: Path, url: str, n_tools: int, width: int) -> float:
    began = time.monotonic()
    road = ["--backend", "m", "--api-base", url, "--width", str(width)]
    command = [sys.executable, "-m", "carg", "--quiet", "expand", "--run", str(folder), "--tools", str(n_tools), *road]
    ended = subprocess.run(command, cwd=ROOT, check=False, env={**os.environ, "CARG_API_KEY": "any"})
    print(f"carg expand --tools {n_tools}: exit {ended.returncode}")
    return time.monotonic() - began


def _tell(folder: Path, seconds: float, peak_mb: float) -> None:
    manifest = read_manifest(folder / "expand", "expand")
    tools = list(read_parts(Tool, folder / "expand", "tools"))
    instances = list(read_parts(Instance, folder / "expand", "instances"))
    named = Counter(f"{tool.domain}/{tool.name}" for tool in tools)
    whole = sorted(name for instance in instances for name in instance.tools) == sorted(tool.id for tool in tools)
    signatures = [sign_tool(tool) for tool in tools]
    near = near_duplicates(signatures, threshold=THRESHOLD)
    faults = Counter(complaint.check for tool in tools for complaint in judge_tool(tool))
    counts = {
        "tools": len(tools),
        "services": len({(tool.domain, tool.service) for tool in tools}),
        "domains": len({tool.domain for tool in tools}),
        "names twice in a domain": sum(count - 1 for count in named.values()),
        "each tool in one instance": whole,
        "complaints of the tool checks": dict(faults),
        "exact duplicates": len(exact_duplicates(signatures)),
        "near duplicates by MinHash": len(near),
        "pairs above 0.8 by true Jaccard": _pairs(tools),
        "seconds": round(seconds, 1),
        "peak MB of the largest process": round(peak_mb),
        "calls": sum(line["replies"] for line in manifest["spent"]),
        "slots": manifest["slots"],
        "refused": manifest["refused"],
        "unusable answers": manifest["unusable"],
        "trials": manifest["trials"],
    }
    print(orjson.dumps(counts, option=orjson.OPT_INDENT_2).decode())


def _pairs(tools: list[Tool]) -> int:
    """Pairs of truly alike tools, found without MinHash: by the rarest shingles, of which alike sets share one."""
    sets = [_shingles(tool) for tool in tools]
    counts = Counter(shingle for found in sets for shingle in found)
    places: dict[str, list[int]] = defaultdict(list)
    pairs = 0
    for at, found in enumerate(sets):
        rare = sorted(found, key=lambda shingle: (counts[shingle], shingle))
        rare = rare[: len(rare) - int(THRESHOLD * len(rare)) + 1]
        for other in {place for shingle in rare for place in places[shingle]}:
            both = len(found & sets[other])
            pairs += both > THRESHOLD * (len(found) + len(sets[other]) - both)
        for shingle in rare:
            places[shingle].append(at)
    return pairs


def _shingles(tool: Tool) -> set[str]:
    named = tool.parameters.get("properties", {}).items()
    said = " ".join(f"{name} {schema.get('description', '')}" for name, schema in named)
    words = (
        f"{tool.name.replace('_', ' ')} {tool.description} {said}".lower().replace(".", " ").replace(",", " ").split()
    )
    return {" ".join(words[at : at + 3]) for at in range(len(words) - 2)}


if __name__ == "__main__":
    main()

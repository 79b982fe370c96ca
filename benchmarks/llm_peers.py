"""Answers a second of carg's LLM road and of its peers: the same questions, one lean server, each client in its venv.

    python benchmarks/llm_peers.py --install VENVS      # once: a virtual environment for each peer (gigabytes)
    python benchmarks/llm_peers.py VENVS [--rows 2000] [--width 256] [--runs 3] [--only carg curator]

The server answers after 50 ms. Clients take turns, `runs` times each; printed is the median. rows/s is from the first
question to the last answer as the server saw it; CPU and memory are of the whole client, with imports and output.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

HOME = Path(__file__).parent / "peers"
PEERS = {
    "curator": "bespokelabs-curator",
    "data_designer": "data-designer",
    "sdg_hub": "sdg-hub",
    "distilabel": "distilabel[openai]",
}


class Taken(NamedTuple):
    """One run of one client."""

    rows_per_s: float
    wall_s: float
    cpu_s: float
    peak_mb: float
    in_flight: int
    refusals: int
    rows: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("venvs", type=Path)
    parser.add_argument("--install", action="store_true")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--delay", type=float, default=0.05)
    parser.add_argument("--stray", type=float, default=0.0, help="share of 429s, with Retry-After 1")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--limit", type=float, default=180.0, help="seconds after which a client is stopped")
    parser.add_argument("--only", nargs="+", choices=["carg", *PEERS], default=["carg", *PEERS])
    given = parser.parse_args()
    if given.install:
        for peer in PEERS:
            _install(given.venvs, peer)
        return
    clients = [client for client in given.only if client == "carg" or _python(given.venvs, client).exists()]
    for client in set(given.only) - set(clients):
        print(f"{client}: no environment in {given.venvs}; --install makes it")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([sys.executable, HOME / "server.py", str(port), str(given.delay), str(given.stray)])
    try:
        _await(port)
        taken: dict[str, list[Taken]] = {client: [] for client in clients}
        for _ in range(given.runs):
            for client in clients:
                taken[client].append(_run(client, given, port))
    finally:
        server.kill()
        server.wait()
    print(f"{given.rows} rows, {given.width} in flight, {given.delay * 1000:g} ms, {given.stray:.0%} of 429s")
    print("client           version     rows/s  carg is faster by  wall s  CPU s  peak MB  in flight  429s  rows out")
    ours = statistics.median(one.rows_per_s for one in taken.get("carg", [])) if taken.get("carg") else 0.0
    for client in clients:
        row = Taken(*(statistics.median(figures) for figures in zip(*taken[client], strict=True)))
        lead = f"{ours / row.rows_per_s:.1f}" if ours and row.rows_per_s else "-"
        version = _version(given.venvs, client)
        print(
            f"{client:<16} {version:<9} {row.rows_per_s:>8.0f} {lead:>17} {row.wall_s:>7.1f} {row.cpu_s:>6.1f} "
            f"{row.peak_mb:>8.0f} {row.in_flight:>10.0f} {row.refusals:>5.0f} {row.rows:>9.0f}"
        )


def _run(client: str, given: argparse.Namespace, port: int) -> Taken:
    _get(port, "reset")
    python = Path(sys.executable) if client == "carg" else _python(given.venvs, client)
    with tempfile.TemporaryDirectory() as folder:
        command = [python, HOME / f"{client}_client.py", f"http://127.0.0.1:{port}/v1", given.rows, given.width, folder]
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        watched = [sys.executable, "-c", _WATCH, *map(str, command)]
        home = {**os.environ, "HOME": folder, "HF_HUB_OFFLINE": "1", "NO_PROXY": "*", "no_proxy": "*"}
        try:
            done = subprocess.run(watched, capture_output=True, text=True, timeout=given.limit, env=home, cwd=folder)
            said, trouble = done.stdout, done.stderr
        except subprocess.TimeoutExpired:
            said, trouble = "", "out of time"
        wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    seen = json.loads(_get(port, "stats"))
    lines = said.strip().splitlines()
    if not lines or not lines[-1].startswith("peak"):
        print(f"{client}: {trouble.strip().splitlines()[-1:] or 'nothing said'}")
    peak = float(lines[-1].split()[1]) if lines and lines[-1].startswith("peak") else 0.0
    out = int(lines[-2]) if len(lines) > 1 and lines[-2].isdigit() else 0
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    rate = seen["answers"] / seen["seconds"] if seen["seconds"] else 0.0
    return Taken(rate, wall, cpu, peak, seen["most_in_flight"], seen["refusals"], out)


_WATCH = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print("peak", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
sys.exit(code)
"""
"""A process between, so that the peak memory is that of one client and not of all so far."""


def _install(venvs: Path, peer: str) -> None:
    subprocess.run([sys.executable, "-m", "venv", venvs / peer], check=True)
    subprocess.run([_python(venvs, peer), "-m", "pip", "install", "-q", PEERS[peer]], check=True)


def _python(venvs: Path, peer: str) -> Path:
    return venvs.resolve() / peer / "bin" / "python"


def _version(venvs: Path, client: str) -> str:
    if client == "carg":
        return "here"
    name = PEERS[client].partition("[")[0]
    code = f"import importlib.metadata as m; print(m.version({name!r}))"
    return subprocess.run([_python(venvs, client), "-c", code], capture_output=True, text=True).stdout.strip()


def _get(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=10) as response:
        return response.read()


def _await(port: int) -> None:
    for _ in range(500):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise SystemExit("the server did not start")


if __name__ == "__main__":
    main()

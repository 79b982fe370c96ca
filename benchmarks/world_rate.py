"""How many exchanges a second on one core the worlds make: openings grown, calls, answers, read sets, rows rendered.

    python benchmarks/world_rate.py [--budget 240] [--profile]

One instance of each service of each world, `budget` exchanges each. CPU seconds of this process count: other work on
the machine stretches the wall clock. Loading the worlds is told apart. Then two processes of their own make N and 4N
exchanges (more instances, the same budget): their peak memory must not differ by more than a tenth.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import resource
import subprocess
import sys
import time
from collections.abc import Iterator

from carg.domains import list_seeds
from carg.records import Instance
from carg.render import render_row
from carg.scene import Scene
from carg.stages.by_world import draw_instances, make_sessions, neutral_surface
from carg.world.definitions import tool_record
from carg.world.load import load_world
from carg.world.model import World
from carg.world.replay import service_of, world_of

MEMORY_WORLDS = 4
"""The memory of few worlds is measured: all of them would be held twice over the budget of small machines."""


def load_worlds() -> list[World]:
    """Every world among the domains, where the services find it."""
    loaded = [load_world(seed.path) for seed in list_seeds() if seed.has_world]
    return [world_of(world.name, world.digest) for world in loaded]


def instances_of(world: World, n_instances: int) -> list[Instance]:
    """So many instances of each service."""
    surface = neutral_surface(world)
    tools = [tool_record(surface, operation) for operation in world.operations.values()]
    return draw_instances(world, tools, n_instances, seed=0)


def make_rows(instance: Instance, budget: int) -> tuple[int, int]:
    """(exchanges, characters) of the rows of one instance."""
    opening, sessions = make_sessions(instance, budget, seed=0)
    service = service_of(instance)
    n_exchanges = n_chars = 0
    for session in sessions:
        shown = service.with_siblings(session.siblings).shown(session.tools)
        row = render_row(Scene(session, instance, shown, opening))
        n_exchanges += len(session.exchanges)
        n_chars += sum(len(message.content) for message in row.messages)
    return n_exchanges, n_chars


def measure(worlds: list[World], budget: int) -> Iterator[tuple[str, int, int, float, float]]:
    """(world, exchanges, characters, CPU seconds, wall seconds) of each world."""
    for world in worlds:
        instances = instances_of(world, 1)
        cpu, wall = time.process_time(), time.perf_counter()
        made = [make_rows(instance, budget) for instance in instances]
        spent = time.process_time() - cpu, time.perf_counter() - wall
        yield world.name, sum(n for n, _ in made), sum(n for _, n in made), *spent


def peak_mb(n_instances: int, budget: int) -> tuple[int, int]:
    """(exchanges, peak MB) of a process of its own that makes and drops rows."""
    command = [sys.executable, __file__, "--budget", str(budget), "--memory", str(n_instances)]
    n_exchanges, peak = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return int(n_exchanges), int(peak)


def tell_memory(n_instances: int, budget: int) -> None:
    """What such a process prints."""
    worlds = load_worlds()[:MEMORY_WORLDS]
    made = sum(make_rows(item, budget)[0] for world in worlds for item in instances_of(world, n_instances))
    print(made, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--budget", type=int, default=240)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.memory:
        tell_memory(asked.memory, asked.budget)
        return
    started = time.process_time()
    worlds = load_worlds()
    print(f"{len(worlds)} worlds loaded in {time.process_time() - started:.1f} CPU s")
    profile = cProfile.Profile()
    if asked.profile:
        profile.enable()
    rows = list(measure(worlds, asked.budget))
    profile.disable()
    for name, n, chars, cpu, wall in rows:
        print(f"{name:28} {n:6} exchanges {chars / n:6.0f} chars each {n / cpu:6.0f}/s CPU {n / wall:6.0f}/s wall")
    n, cpu, wall = sum(row[1] for row in rows), sum(row[3] for row in rows), sum(row[4] for row in rows)
    print(f"all: {n} exchanges, {n / cpu:.0f}/s per core by CPU time, {n / wall:.0f}/s by the clock")
    if asked.profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)
        return
    (few, low), (many, high) = peak_mb(1, asked.budget), peak_mb(4, asked.budget)
    print(f"peak memory of {MEMORY_WORLDS} worlds: {low} MB at {few} exchanges, {high} MB at {many}")
    sys.exit(high > 1.1 * low)


if __name__ == "__main__":
    main()

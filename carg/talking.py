"""The bodies of commands that show things: simulate, domains, stats."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from carg.console import Screen
from carg.errors import DomainError, RecordError

MOST_EXCHANGES = 20_000
"""Exchanges that realism is measured on: quantiles no longer move beyond."""


def talk(
    screen: Screen,
    simulation: Any,
    call: str | None,
    lines: Iterable[str] | None,
    backends: Sequence[str],
    api_base: str | None,
    seed: int,
) -> None:
    """Answer one call, or each line, by each backend; a line that names no shown tool is told and passed over."""
    from carg.simulate import example_call

    if lines is None:
        text = simulation.read_call(call) if call else example_call(simulation, seed)
        answer_one(screen, simulation, text, backends, api_base)
        return
    for line in lines:
        if not line.strip():
            continue
        try:
            text = simulation.read_call(line.strip())
        except RecordError as fault:
            screen.error(fault.message, fault.hint)
            continue
        answer_one(screen, simulation, text, backends, api_base)


def answer_one(screen: Screen, simulation: Any, text: str, backends: Sequence[str], api_base: str | None) -> None:
    """One call, its answer by each backend, and what can be said of each answer."""
    from carg.simulate import answer_by_model, judge_answer

    answers = []
    for backend in backends:
        before = list(simulation.turns)
        if backend == "world":
            answered = simulation.answer_by_world(text).response.text
        elif backend == "stand-in":
            answered = simulation.answer_by_stand_in(text).text
        else:
            answered = answer_by_model(simulation, text, backend, api_base)
        answers.append({"backend": backend, "answer": answered, "form": judge_answer(simulation, text, answered)})
        if len(backends) > 1:
            # Each backend answers the same conversation; the first one's answers go on.
            simulation.turns = before
    if len(backends) > 1:
        simulation.turns.append((text, answers[0]["answer"]))
    if screen.as_json:
        screen.json({"call": text, "answers": answers})
        return
    screen.result(f"call:  {text}")
    for item in answers:
        screen.result(f"{item['backend']} ({item['form']}):\n{item['answer']}")


def show_domain(screen: Screen, name: str) -> None:
    """A domain's seed, and its world's services and tools."""
    from carg.domains import find_seed

    seed = find_seed(name)
    services: dict[str, Any] = {}
    if seed.has_world:
        from carg.world.load import load_world

        world = load_world(seed.path)
        for service in world.services.values():
            offered = [world.operations[name] for name in service.operations]
            services[service.name] = (service.about, [(each.name, each.kind, each.about) for each in offered])
    if screen.as_json:
        from carg.pipeline import told

        tools = {service: [tool for tool, _, _ in offered] for service, (_, offered) in services.items()}
        screen.json({**told(seed), "path": str(seed.path), "services": tools})
        return
    screen.result(f"{seed.title} ({seed.category}/{seed.name}){', held out' if seed.held_out else ''}\n{seed.summary}")
    screen.result(f"topics: {', '.join(seed.topics)}")
    if not seed.has_world:
        screen.note("a seed without a world: carg expand --backend MODEL makes tools of it")
    for label, (about, offered) in services.items():
        rows = [(tool, kind, text[:70]) for tool, kind, text in offered]
        screen.table(f"{label}: {about}", ("tool", "kind", "what it does"), rows)


def check_files(screen: Screen, files: Sequence[Path], services: int, width: int | None) -> None:
    """Check domain files; raises DomainError when one has a fault."""
    from carg.domain_check import check_domain
    from carg.domain_check.findings import say_report
    from carg.domains import find_seed, list_seeds, seed_faults
    from carg.parallel import map_parts

    if files:
        paths = [path if path.suffix == ".toml" else find_seed(str(path)).path for path in files]
    else:
        paths = [seed.path for seed in list_seeds()]
    faults = [fault for path in paths for fault in seed_faults(path)]
    worlds = [path for path in paths if find_seed(str(path)).has_world] if not faults else []
    n_faults = len(faults)
    for fault in faults:
        screen.result(fault)
    for report in map_parts(partial(check_domain, services=services), worlds, width=width):
        screen.result(say_report(report))
        n_faults += len(report.faults)
    screen.note(f"{len(paths)} files, {len(worlds)} with a world, {n_faults} faults")
    if n_faults:
        raise DomainError(f"{n_faults} faults in {len(paths)} files", "each is told above with file and entry")


def run_scenes(run: Path) -> Iterator[Any]:
    """Every scene of a run."""
    from carg.scene import count_parts, open_book, read_scenes
    from carg.store import read_manifest

    read_manifest(run / "generate", "generate")
    book = open_book(run)
    for number in range(count_parts(run)):
        yield from read_scenes(book, run, number)


def show_tables(screen: Screen, tables: Sequence[Any]) -> None:
    """Measured tables; a list of them for programs."""
    if screen.as_json:
        from carg.pipeline import told

        screen.json([told(table) for table in tables])
    for table in () if screen.as_json else tables:
        screen.table(table.title, table.columns, table.rows, table.notes)


def show_leaks(screen: Screen, run: Path) -> None:
    """The leak and sequence tables of a run."""
    from carg.stats.leaks import leaks, sample_calls, sequences

    show_tables(screen, (leaks(list(sample_calls(run_scenes(run)))), sequences(run_scenes(run))))


def show_tools(screen: Screen, run: Path) -> None:
    """The tables on a run's tools."""
    from carg.records import Tool
    from carg.stats.tools import count_tools, trial_tables
    from carg.store import read_parts

    trials = trial_tables(run)
    show_tables(screen, [*trials, *count_tools(read_parts(Tool, run / "expand", "tools"))])


def show_realism(screen: Screen, run: Path, real: Path) -> None:
    """A run's tools and answers beside those of a run of imported ones."""
    from itertools import islice

    from carg.records import Tool
    from carg.stats.realism import compare_realism
    from carg.store import read_manifest, read_parts

    def made(folder: Path) -> tuple[list[Tool], list[Any]]:
        read_manifest(folder / "expand", "expand")
        scenes = run_scenes(folder) if (folder / "generate").exists() else iter(())
        exchanges = (exchange for scene in scenes for exchange in scene.session.exchanges)
        return list(read_parts(Tool, folder / "expand", "tools")), list(islice(exchanges, MOST_EXCHANGES))

    (ours, our_exchanges), (theirs, real_exchanges) = made(run), made(real)
    show_tables(screen, [compare_realism(ours, theirs, our_exchanges=our_exchanges, real_exchanges=real_exchanges)])


def show_draft(screen: Screen, title: str, out: Path | None, road: Any, **given: Any) -> None:
    """Draft a domain, saying after each round what is wrong with it."""
    import asyncio

    from carg.drafting import draft_domain, name_of

    def on_round(number: int, faults: list[str]) -> None:
        screen.note(f"round {number}: {len(faults)} faults" + "".join(f"\n  {fault}" for fault in faults[:5]))

    path = out or Path("drafts") / f"{name_of(title)}.toml"
    made = asyncio.run(draft_domain(title, path, road, on_round=on_round, **given))
    if screen.as_json:
        screen.json({"path": str(made.path), "faults": list(made.faults)})
        return
    screen.result(f"{made.path}: sound after {len(made.faults)} rounds")
    screen.note(
        f"it is marked draft = true: read it first. Next: carg expand --run outputs/{made.path.stem} -d {made.path}"
    )

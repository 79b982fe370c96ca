"""The stages as commands run them: one folder a run, one lock, settings that may not change, manifests written last."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from carg.domains import choose_seeds, file_digests, keep_files
from carg.errors import ConfigError, RecordError, StoreError
from carg.ledger import cost_table
from carg.made import Made, find_made, finish, finish_road, missing_parts, prepare, read_made
from carg.records import Instance, Json, Tool, digest
from carg.store import (
    is_done,
    locked,
    parts,
    read_parts,
    run_digest,
    set_aside,
    unfinish,
    write_atomic,
    write_manifest,
    write_part,
)

OnCount = Callable[[int], None]
"""Hears how much more is done."""


def _road_settings(road: Any, stage: str) -> dict[str, Json]:
    """What of a road changes the records of a stage: the models, how they are asked, and the words of the prompts."""
    if road is None:
        return {"backend": "world"}
    from carg.prompts import load_prompt, prompt_names
    from carg.stages.forecast import STAGE_OF

    asked = [name for name in prompt_names() if STAGE_OF.get(name) == stage]
    return {**road.fingerprint, "prompts": {name: load_prompt(name).digest[:12] for name in asked}}


def expand(
    run: Path,
    *,
    domains: Sequence[str] = (),
    n_tools: int | None = None,
    n_instances: int = 4,
    seed: int = 0,
    road: Any = None,
    fresh: bool = False,
    on_count: OnCount = lambda _n: None,
) -> Made:
    """Tools and instances, from worlds, or by a model where a `road` is given. Goes on where it was stopped."""
    seeds = choose_seeds(domains, worlds=road is None)
    if road is not None and n_tools is None:
        raise ConfigError("a model needs to know how many tools to make", "give --tools N")
    settings = {
        "domains": [item.name for item in seeds],
        "worlds": file_digests(seeds) if road is None else None,
        "tools": n_tools,
        "instances": None if road is not None else n_instances,
        "seed": seed,
        "road": _road_settings(road, "expand"),
    }
    with locked(run):
        folder = prepare(run, "expand", settings, fresh=fresh)
        if (made := find_made(folder, "expand", road)) is not None:
            return made
        if road is None:
            from carg.stages.by_world import expand_by_world

            keep_files(folder, seeds)
            report = expand_by_world(folder, seeds, n_tools, n_instances, seed)
            return finish(folder, "expand", {**report.records, **report.counts}, report.digest)
        from carg.stages.tools_by_model import expand_by_model

        assert n_tools is not None
        told = asyncio.run(
            expand_by_model(
                folder, seeds, n_tools, road, on_done=lambda _name, out: on_count(len(out.records.get("tools", ())))
            )
        )
        return finish_road(folder, "expand", told, asked=digest("expand", settings))


def generate(
    run: Path,
    *,
    n_exchanges: int,
    seed: int = 0,
    road: Any = None,
    session_mode: str = "stepwise",
    n_queries: int = 0,
    width: int | None = None,
    fresh: bool = False,
    on_count: OnCount = lambda _n: None,
) -> Made:
    """Sessions of about `n_exchanges` exchanges over the run's instances. Goes on where it was stopped.

    It is due again when --retry-failed gave the run more tools of a model: what was stored for the others stays paid.
    """
    if road is not None:
        road = replace(road, session_mode=session_mode, n_queries=n_queries)
    elif n_queries:
        raise ConfigError("queries are written by a model", "name one with --backend")
    expanded = read_made(run / "expand", "expand")
    source: str = expanded["digest"]
    # Tools of a model may grow in number under the same settings; those of worlds follow from their settings.
    settings = {"exchanges": n_exchanges, "seed": seed, "expand": expanded.get("asked", source)}
    settings["road"] = _road_settings(road, "generate")
    with locked(run):
        folder = prepare(run, "generate", settings, fresh=fresh)
        if (made := find_made(folder, "generate", road, source=source)) is not None:
            return made
        if road is None:
            return _generate_by_world(run, folder, n_exchanges, seed, width, on_count)
        told = _generate_by_model(run, folder, n_exchanges, seed, road, width, on_count)
        return finish_road(folder, "generate", told, source=source)


def _generate_by_model(
    run: Path, folder: Path, n_exchanges: int, seed: int, road: Any, width: int | None, on_count: OnCount
) -> Any:
    instances = list(read_parts(Instance, run / "expand", "instances"))

    def on_done(_name: str, outcome: Any) -> None:
        on_count(outcome.n_candidates)

    if any(instance.operations for instance in instances):
        # A world stands behind the tools: it gives calls and truths, and the model's answers lie beside them.
        if road.n_queries:
            raise ConfigError(
                "queries are written for tools without a world", "leave --queries out, or expand by a model"
            )
        from carg.stages.by_world import generate_by_world
        from carg.stages.teacher import answer_truths

        generate_by_world(run, n_exchanges, seed, width=width, stem="truths", on_part=lambda _counts: on_count(0))
        return asyncio.run(answer_truths(run, road, on_done=on_done))
    from carg.stages.by_model import generate_by_model

    tools = read_parts(Tool, run / "expand", "tools")
    return asyncio.run(generate_by_model(folder, instances, tools, n_exchanges, road, on_done=on_done))


def _generate_by_world(
    run: Path, folder: Path, n_exchanges: int, seed: int, width: int | None, on_count: OnCount
) -> Made:
    instances = list(read_parts(Instance, run / "expand", "instances"))
    if instances and not any(instance.operations for instance in instances):
        # Tools that were imported have no world: valid and invalid calls can be made for them, answers cannot.
        from carg.stages.calls_only import write_calls

        calls = write_calls(run, folder, n_exchanges, seed)
        source = read_made(run / "expand", "expand")["digest"]
        return finish(folder, "generate", calls.counts, calls.digest, {"calls_only": True, "source": source})
    from carg.stages.by_world import generate_by_world

    report = generate_by_world(
        run, n_exchanges, seed, width=width, on_part=lambda counts: on_count(counts["exchanges"])
    )
    return finish(folder, "generate", {**report.counts, **report.records}, report.digest)


def filter_sessions(
    run: Path, *, width: int | None = None, fresh: bool = False, on_count: OnCount = lambda _n: None
) -> Made:
    """The checked rows in `run/dataset`, the rejects in `run/rejected`, `filter.json` and the report page."""
    generated = read_made(run / "generate", "generate")
    if generated.get("calls_only"):
        raise StoreError(
            f"{run}: the run holds calls without answers",
            f"let a model answer: carg generate --run {run} --backend MODEL --fresh",
        )
    if missing := missing_parts(run / "generate", generated):
        raise StoreError(
            f"{run / 'generate' / missing[0]}: the file is gone", "run `carg generate` again: it makes what is missing"
        )
    with locked(run):
        if is_done(run, "filter") and (run / "dataset").is_dir() and not fresh:
            found = read_made(run, "filter")
            if found.get("generate") == generated["digest"]:
                return Made("filter", found["counts"], found["digest"], again=True)
            raise StoreError(f"{run / 'dataset'} holds other rows", "give --fresh to set it aside and write anew")
        from carg.filter import finish
        from carg.parallel import map_parts
        from carg.scene import count_parts

        # A dataset without a manifest is what a kill left; so are parts, which stay only if of the same sessions.
        set_aside(run / "dataset")
        unfinish(run, "filter")
        keep_parts(run / "parts", generated["digest"], fresh=fresh)
        split = read_made(run / "expand", "expand").get("split")
        jobs = [(run, number, split) for number in range(count_parts(run))]
        for report in map_parts(_filter_one, jobs, width=width):
            on_count(report.counts.get("exchanges/read", 0))
        about: dict[str, Json] = {"Made by": "carg", "Digest of the sessions": generated["digest"]}
        report = finish(run, about=about)
        from carg.report import write_report
        from carg.stats.tools import trial_tables

        tables = [*cost_table(run, report.counts.get("rows/kept", 0)), *trial_tables(run)]
        write_report(run, tables=tables, about=about)
        key = {"digest": report.digest, "generate": generated["digest"]}
        write_manifest(run, "filter", {"counts": report.counts, **key})
        return Made("filter", report.counts, report.digest)


def keep_parts(folder: Path, sessions: str, *, fresh: bool) -> None:
    """The parts of a filter that was killed stay where they judge the same sessions (a digest), else they go."""
    named = folder / "of"
    if folder.exists() and (fresh or not named.exists() or named.read_text() != sessions):
        shutil.rmtree(folder)
    write_atomic(named, [sessions.encode()])


@lru_cache(2)
def _book(run: Path, stamp: int) -> Any:
    from carg.scene import open_book

    return open_book(run)


def _filter_one(job: tuple[Path, int, Any]) -> Any:
    from carg.filter import filter_part
    from carg.render import render_row
    from carg.scene import read_scenes

    run, number, split = job
    stamp = max(path.stat().st_mtime_ns for path in parts(run / "expand", "instances"))
    scenes = read_scenes(_book(run, stamp), run, number)
    return filter_part(scenes, run, number, render=render_row, imported=split)


def import_tools(
    run: Path, files: Sequence[Path], *, split: str = "test_real", seed: int = 0, fresh: bool = False
) -> tuple[Made, list[Any]]:
    """Tools that others defined, as the run's tools, an instance for each service; and what was refused, with why.

    `split` is where their rows go: test_real, or train.
    """
    from carg.importing import read_tools
    from carg.stages.calls_only import instances_of

    tools: dict[str, Tool] = {}
    refusals: list[Any] = []
    for path in files:
        found = read_tools(path)
        for tool in found.tools:
            tools.setdefault(tool.id, tool)
        refusals += found.refusals
    if not tools:
        said = (
            f"{refusals[0].file} {refusals[0].entry}".strip() + f": {refusals[0].reason}"
            if refusals
            else "the files are empty"
        )
        raise RecordError(
            f"no tool could be read: {said}",
            "give OpenAI function lists, MCP tools/list, BFCL lines or recorded LLM traffic",
        )
    with locked(run):
        settings: dict[str, Json] = {"imported": sorted(str(path) for path in files), "seed": seed, "split": split}
        folder = prepare(run, "expand", settings, fresh=fresh)
        instances = instances_of(list(tools.values()), seed)
        write_part(folder, "tools", 0, tools.values())
        write_part(folder, "instances", 0, instances)
        write_part(folder, "refusals", 0, refusals)
        counts = {"tools": len(tools), "instances": len(instances), "refused": len(refusals)}
        key = run_digest({"tools": tools, "instances": [item.id for item in instances]})
        return finish(folder, "expand", counts, key, {"split": split}), refusals


def told(value: object) -> dict[str, Json]:
    """A record as plain JSON, for --json."""
    return asdict(value)  # type: ignore[call-overload, no-any-return]

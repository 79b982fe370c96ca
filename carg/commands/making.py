"""Commands that make data: expand, generate, filter, import, and whole runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from carg.console import Screen
from carg.options import (
    backend_options,
    fresh_option,
    make_road,
    retry_option,
    run_option,
    seed_option,
    session_options,
    width_option,
)


def _show(screen: Screen, made: Any, next_step: str, max_failed: float = 1.0) -> None:
    from carg.made import check_failures, check_missing
    from carg.pipeline import told

    if screen.as_json:
        screen.json(told(made))
    else:
        rows = [(name, count) for name, count in made.counts.items() if "/" not in name]
        slots = {f"slots {name}": count for name, count in made.slots.items()}
        if made.stage == "generate" and (tried := slots.pop("slots candidates", 0)):
            slots.setdefault("exchanges", made.counts.get("exchanges", tried))
        rows += [(name, count) for name, count in slots.items() if count and name not in made.counts]
        screen.table(f"{made.stage}{' (was done already)' if made.again else ''}", ("what", "count"), rows)
        if parts := [(name, count) for name, count in made.counts.items() if "/" in name]:
            screen.table("of these", ("what", "count"), parts)
        screen.note(f"digest {made.digest[:16]}; next: {next_step}")
    check_failures(made, max_failed)
    check_missing(made)


@click.command()
@run_option
@click.option(
    "--domains",
    "-d",
    multiple=True,
    help="Domain names, files, folders; default: all that have a world (with an LLM: all).",
)
@click.option("--tools", type=click.IntRange(1), help="Tools in all, shared fairly; default: all that the worlds hold.")
@click.option(
    "--instances", type=click.IntRange(1), default=4, show_default=True, help="Conventions drawn for each service."
)
@seed_option
@backend_options
@retry_option
@fresh_option
@click.pass_obj
def expand(
    screen: Screen,
    /,
    run: Path,
    domains: tuple[str, ...],
    tools: int | None,
    instances: int,
    seed: int,
    retry_failed: bool,
    fresh: bool,
    **options: Any,
) -> None:
    """Make tools and conventions, from worlds or by an LLM.

    Example: carg expand --run outputs/mine -d beekeeping -d hotels --tools 60
    """
    from carg.pipeline import expand as work

    with screen.progress("expand", tools, "tools") as advance:
        made = work(
            run,
            domains=domains,
            n_tools=tools,
            n_instances=instances,
            seed=seed,
            road=make_road(seed, options, retry_failed=retry_failed),
            fresh=fresh,
            on_count=advance,
        )
    if options["backend"] != "world" and not screen.as_json:
        from carg.stats.tools import trial_tables
        from carg.talking import show_tables

        show_tables(screen, trial_tables(run))
    _show(screen, made, f"carg generate --run {run}", options["max_failed"])


@click.command()
@run_option
@click.option(
    "--exchanges", type=click.IntRange(1), default=4000, show_default=True, help="Calls with answers, in all."
)
@session_options
@seed_option
@width_option
@backend_options
@retry_option
@fresh_option
@click.pass_obj
def generate(
    screen: Screen,
    /,
    run: Path,
    exchanges: int,
    seed: int,
    workers: int | None,
    session_mode: str,
    queries: int,
    retry_failed: bool,
    fresh: bool,
    **options: Any,
) -> None:
    """Make calls, answers and sessions for the tools of a run.

    Example: carg generate --run outputs/mine --exchanges 20000
    """
    from carg.pipeline import generate as work

    with screen.progress("generate", exchanges, "exchanges") as advance:
        made = work(
            run,
            n_exchanges=exchanges,
            seed=seed,
            road=make_road(seed, options, retry_failed=retry_failed),
            session_mode=session_mode,
            n_queries=queries,
            width=workers,
            fresh=fresh,
            on_count=advance,
        )
    if missing := made.counts.get("not found"):
        screen.note(f"{missing:,} of {exchanges:,} calls were not found: the schemas offer no more that differ")
    if "calls" in made.counts:
        screen.note("these are calls alone: the checks need answers, which a model gives")
        _show(screen, made, f"carg generate --run {run} --backend MODEL --fresh")
        return
    _show(screen, made, f"carg filter --run {run}", options["max_failed"])


@click.command("filter")
@run_option
@width_option
@fresh_option
@click.pass_obj
def filter_(screen: Screen, run: Path, workers: int | None, fresh: bool) -> None:
    """Check every exchange, write shards, and say why the rest was dropped.

    Example: carg filter --run outputs/mine
    """
    from carg.pipeline import filter_sessions, told

    with screen.progress("filter", None, "exchanges") as advance:
        made = filter_sessions(run, width=workers, fresh=fresh, on_count=advance)
    if screen.as_json:
        screen.json(told(made))
        return
    for heading, title in (
        ("rows", "Rows"),
        ("exchanges", "Exchanges"),
        ("reason", "Dropped, by reason"),
        ("mix", "Mix kept"),
        ("split", "Exchanges by split"),
    ):
        rows = [
            (name.partition("/")[2], count) for name, count in made.counts.items() if name.startswith(f"{heading}/")
        ]
        if rows:
            screen.table(title, ("what", "count"), rows)
    trains = made.counts.get("split/train")
    then = f"finetune --run {run} --init tiny   (or --base Qwen/Qwen2.5-1.5B on a GPU)"
    screen.note(
        f"{run}/dataset loads with datasets.load_dataset; {run}/report.html shows samples\n"
        f"next: carg {then if trains else f'evaluate {run}/dataset'}"
    )


@click.command("run")
@click.option("--config", "file", required=True, type=click.Path(path_type=Path), help="TOML file; see docs/runs.md.")
@retry_option
@fresh_option
@click.pass_obj
def run_(screen: Screen, file: Path, retry_failed: bool, fresh: bool) -> None:
    """Walk the stages of a config that are due; safe to call again at any moment, and twice at once (exit 75).

    Example: carg run --config nightly.toml
    """
    from carg.config import read_config
    from carg.planning import show_run

    show_run(screen, read_config(file), retry_failed=retry_failed, fresh=fresh)


@click.command()
@run_option
@click.pass_obj
def status(screen: Screen, run: Path) -> None:
    """Where a run stands: stages, counts, journals, cost so far. Takes no lock.

    Example: carg --json status --run outputs/mine
    """
    from carg.planning import show_status

    show_status(screen, run)


@click.command()
@run_option
@click.option("--domains", "-d", multiple=True, help="Domains of which tools are to be made; default: all.")
@click.option(
    "--tools", type=click.IntRange(0), default=2000, show_default=True, help="Tools to be made, if none are there."
)
@click.option(
    "--exchanges", type=click.IntRange(0), default=4000, show_default=True, help="Calls with answers, in all."
)
@session_options
@backend_options
@click.pass_obj
def plan(
    screen: Screen,
    /,
    run: Path,
    domains: tuple[str, ...],
    tools: int,
    exchanges: int,
    session_mode: str,
    queries: int,
    **options: Any,
) -> None:
    """Forecast calls, tokens, dollars and time of expand and generate by a model, and how sure that is.

    Example: carg plan --backend openai/gpt-5-mini --tools 500 --exchanges 10000
    """
    from carg.config import Asking
    from carg.planning import show_plan

    if options["backend"] == "world":
        raise click.UsageError("worlds cost nothing: name the model to plan for with --backend")
    writing = {"n_exchanges": exchanges, "session_mode": session_mode, "n_queries": queries}
    show_plan(screen, run, Asking(**options), domains=domains, n_tools=tools, writing=writing)


@click.command("import")
@run_option
@click.option(
    "--split",
    type=click.Choice(["test_real", "train"]),
    default="test_real",
    show_default=True,
    help="Where rows of these tools go.",
)
@click.option("--show-refused", is_flag=True, help="List every refusal, not only their reasons.")
@seed_option
@fresh_option
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.pass_obj
def import_(
    screen: Screen, run: Path, split: str, show_refused: bool, seed: int, fresh: bool, files: tuple[Path, ...]
) -> None:
    """Turn tool definitions of others (OpenAI lists, MCP tools/list, ...) into the tools of a run.

    Example: carg import my-tools.json --run outputs/mine
    """
    from collections import Counter

    from carg.pipeline import import_tools

    made, refusals = import_tools(run, files, split=split, seed=seed, fresh=fresh)
    reasons = Counter(refusal.reason.partition(":")[0] for refusal in refusals)
    if not screen.as_json and refusals:
        screen.table("Refused", ("reason", "entries"), reasons.most_common())
        if show_refused:
            screen.table(
                "Each", ("file", "entry", "reason"), [(Path(r.file).name, r.entry, r.reason) for r in refusals]
            )
    _show(screen, made, f"carg generate --run {run} --backend MODEL   (without it: calls alone)")


@click.command()
@run_option
@click.option(
    "--exchanges", type=click.IntRange(1), default=5000, show_default=True, help="Calls with answers, in all."
)
@click.option(
    "--minutes", type=click.FloatRange(0, min_open=True), default=2.0, show_default=True, help="Training time."
)
@seed_option
@fresh_option
@click.pass_obj
def demo(screen: Screen, run: Path, exchanges: int, minutes: float, seed: int, fresh: bool) -> None:
    """The whole journey on the worlds that ship: expand, generate, filter, finetune, simulate.

    Example: carg demo --run outputs/demo --minutes 5
    """
    from carg.demo import show_demo

    show_demo(screen, run, exchanges=exchanges, minutes=minutes, seed=seed, fresh=fresh)

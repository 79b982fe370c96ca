"""The command line: thin click commands over `pipeline`, `simulate` and the rest; the only place that exits."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from carg import __version__
from carg.console import Screen
from carg.errors import CargError
from carg.options import (
    backend_options,
    fresh_option,
    make_road,
    retry_option,
    run_option,
    seed_option,
    width_option,
)

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(context_settings=CONTEXT)
@click.version_option(__version__, prog_name="carg")
@click.option("--quiet", is_flag=True, help="No progress, no notes: results and errors only.")
@click.option("--json", "as_json", is_flag=True, help="Results as JSON on stdout.")
@click.pass_context
def cli(context: click.Context, quiet: bool, as_json: bool) -> None:
    """Synthesise the world of tools, and train a model to simulate it.

    \b
    carg expand --run outputs/mine            tools and conventions, from executable worlds
    carg generate --run outputs/mine          calls, answers and sessions, proved by execution
    carg filter --run outputs/mine            checks; Parquet shards
    carg finetune --run outputs/mine          a tool simulator trained on the shards
    carg simulate --run outputs/mine          its answer beside the world's
    """
    context.obj = Screen(quiet=quiet, as_json=as_json)


def _show(screen: Screen, made: Any, next_step: str, max_failed: float = 1.0) -> None:
    from carg.pipeline import check_failures, told

    if screen.as_json:
        screen.json(told(made))
    else:
        rows = [(name, count) for name, count in made.counts.items() if "/" not in name]
        rows += [(f"slots {name}", count) for name, count in made.slots.items() if count]
        screen.table(f"{made.stage}{' (was done already)' if made.again else ''}", ("what", "count"), rows)
        if parts := [(name, count) for name, count in made.counts.items() if "/" in name]:
            screen.table("of these", ("what", "count"), parts)
        screen.note(f"digest {made.digest[:16]}; next: {next_step}")
    check_failures(made, max_failed)


@cli.command()
@run_option
@click.option(
    "--domains", "-d", multiple=True, help="Domain names or files; default: all that have a world (with an LLM: all)."
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

    Example: carg expand --run outputs/mine -d beekeeping -d banking --tools 60
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
    _show(screen, made, f"carg generate --run {run}", options["max_failed"])


@cli.command()
@run_option
@click.option(
    "--exchanges", type=click.IntRange(1), default=4000, show_default=True, help="Calls with answers, in all."
)
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
            width=workers,
            fresh=fresh,
            on_count=advance,
        )
    _show(screen, made, f"carg filter --run {run}", options["max_failed"])


@cli.command("filter")
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
    screen.note(
        f"{run}/dataset loads with datasets.load_dataset; {run}/report.html shows samples; "
        f"next: carg finetune --run {run}"
    )


@cli.command("run")
@click.option("--config", "file", required=True, type=click.Path(path_type=Path), help="TOML file; see docs/runs.md.")
@retry_option
@click.pass_obj
def run_(screen: Screen, file: Path, retry_failed: bool) -> None:
    """Walk the stages of a config that are due; safe to call again at any moment, and twice at once (exit 75).

    Example: carg run --config nightly.toml
    """
    from carg.config import read_config
    from carg.planning import show_run

    show_run(screen, read_config(file), retry_failed=retry_failed)


@cli.command()
@run_option
@click.pass_obj
def status(screen: Screen, run: Path) -> None:
    """Where a run stands: stages, counts, journals, cost so far. Takes no lock.

    Example: carg --json status --run outputs/mine
    """
    from carg.planning import show_status

    show_status(screen, run)


@cli.command()
@run_option
@click.option("--domains", "-d", multiple=True, help="Domains of which tools are to be made; default: all.")
@click.option(
    "--tools", type=click.IntRange(0), default=2000, show_default=True, help="Tools to be made, if none are there."
)
@click.option(
    "--exchanges", type=click.IntRange(0), default=4000, show_default=True, help="Calls with answers, in all."
)
@backend_options
@click.pass_obj
def plan(screen: Screen, /, run: Path, domains: tuple[str, ...], tools: int, exchanges: int, **options: Any) -> None:
    """Forecast calls, tokens, dollars and time of expand and generate by a model, and how sure that is.

    Example: carg plan --backend openai/gpt-5-mini --tools 500 --exchanges 10000
    """
    from carg.config import Asking
    from carg.planning import show_plan

    if options["backend"] == "world":
        raise click.UsageError("worlds cost nothing: name the model to plan for with --backend")
    show_plan(screen, run, Asking(**options), domains=domains, n_tools=tools, n_exchanges=exchanges)


@cli.command()
@run_option
@click.option("--dataset", type=click.Path(path_type=Path), help="A dataset folder; default: that of the run.")
@click.option("--out", type=click.Path(path_type=Path), help="Where the model goes; default: RUN/model.")
@click.option("--init", type=click.Choice(["tiny", "small", "1.5b"]), help="Train from scratch at this size.")
@click.option("--base", help="A hub name or folder to start from, such as Qwen/Qwen2.5-1.5B.")
@click.option("--steps", type=click.IntRange(1), help="Optimizer steps; goes before --epochs.")
@click.option("--epochs", type=float, default=2.0, show_default=True, help="Passes over the training split.")
@click.option("--minutes", type=float, help="End by the clock; the learning rate is timed to fall by then.")
@click.option("--context", type=int, help="Longest conversation in tokens.")
@click.option("--row-tokens", type=int, help="Tokens that go through the model at once: sets the memory needed.")
@click.option("--batch-tokens", type=int, help="Tokens of one optimizer step.")
@click.option("--lr", type=float, help="Highest learning rate.")
@click.option(
    "--lora-rank", type=int, default=0, show_default=True, help="Low-rank adapters, merged at the end; 0: all weights."
)
@click.option(
    "--eval-every",
    type=int,
    default=0,
    show_default=True,
    help="Steps between measurements on held-out splits; 0: at the end.",
)
@click.option("--checkpoint-every", type=int, default=200, show_default=True, help="Steps between checkpoints.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda.")
@seed_option
@fresh_option
@click.pass_obj
def finetune(
    screen: Screen,
    /,
    run: Path,
    dataset: Path | None,
    out: Path | None,
    minutes: float | None,
    fresh: bool,
    **options: Any,
) -> None:
    """Train the tool simulator on the shards; goes on where it was interrupted.

    Example: carg finetune --run outputs/mine --init tiny --minutes 10
    """
    from carg.training import train

    report = train(
        screen, dataset or run / "dataset", out or run / "model", fresh=fresh, max_minutes=minutes, **options
    )
    if screen.as_json:
        from carg.pipeline import told

        screen.json(told(report))


@cli.command()
@run_option
@click.option("--service", help="domain/service, a domain, or an instance id; default: the first of the run.")
@click.option("--tool", help="A tool that must be among those shown.")
@click.option(
    "--backend",
    "-b",
    multiple=True,
    default=("world",),
    show_default=True,
    help="world, gtm:DIR, or a litellm model; several: side by side.",
)
@click.option("--api-base", help="URL of an OpenAI-compatible server.")
@click.option("--chat", is_flag=True, help="One call a line from stdin, over one state.")
@click.option("--system", "show_system", is_flag=True, help="Print what the model reads of the service, and end.")
@seed_option
@click.argument("call", required=False)
@click.pass_obj
def simulate(
    screen: Screen,
    run: Path,
    service: str | None,
    tool: str | None,
    backend: tuple[str, ...],
    api_base: str | None,
    chat: bool,
    show_system: bool,
    seed: int,
    call: str | None,
) -> None:
    """Answer CALL as a service of the run would: {"tool": ..., "arguments": {...}} or its own syntax.

    Without CALL, an example is drawn.

    \b
    Example: carg simulate --run outputs/mine -b world -b gtm:outputs/mine/model
    """
    from carg.simulate import open_simulation
    from carg.talking import talk

    simulation = open_simulation(run, service, seed=seed, tool=tool)
    if show_system:
        screen.result(simulation.system)
        return
    lines = sys.stdin if chat else None
    talk(screen, simulation, call, lines, backend, api_base, seed)


@cli.command("import")
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
    _show(screen, made, f"carg generate --run {run} --exchanges N (calls only), or with --backend MODEL")


@cli.group()
def domains() -> None:
    """List, show and check domain files."""


@domains.command("list")
@click.option("--worlds", is_flag=True, help="Only those with a world.")
@click.pass_obj
def domains_list(screen: Screen, worlds: bool) -> None:
    """The domains that ship, or those of CARG_DOMAINS.

    Example: carg domains list --worlds
    """
    from carg.domains import list_seeds

    seeds = [seed for seed in list_seeds() if seed.has_world or not worlds]
    if screen.as_json:
        screen.json(
            [
                {"name": s.name, "category": s.category, "title": s.title, "world": s.has_world, "held_out": s.held_out}
                for s in seeds
            ]
        )
        return
    rows = [
        (seed.category, seed.name, seed.title, "world" if seed.has_world else "", "held out" if seed.held_out else "")
        for seed in seeds
    ]
    screen.table(f"{len(seeds)} domains", ("category", "name", "title", "", ""), rows)


@domains.command("show")
@click.argument("name")
@click.pass_obj
def domains_show(screen: Screen, name: str) -> None:
    """A domain: summary, topics, and the services and tools of its world.

    Example: carg domains show beekeeping
    """
    from carg.talking import show_domain

    show_domain(screen, name)


@domains.command("check")
@click.option(
    "--services", type=click.IntRange(1), default=40, show_default=True, help="Drawn services to grow per world."
)
@width_option
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.pass_obj
def domains_check(screen: Screen, services: int, workers: int | None, files: tuple[Path, ...]) -> None:
    """Check FILES (default: all): seeds for form, worlds by growing and calling them.

    Example: carg domains check drafts/falconry.toml
    """
    from carg.talking import check_files

    check_files(screen, files, services, workers)


@domains.command("draft")
@click.option("--out", type=click.Path(path_type=Path), help="The file; default: drafts/NAME.toml.")
@click.option("--category", default="", help="Title of its category, where the list of domains has none.")
@click.option("--rounds", type=click.IntRange(1), default=12, show_default=True, help="Times the model may mend it.")
@click.option(
    "--services",
    type=click.IntRange(1),
    default=40,
    show_default=True,
    help="Drawn services to grow when it is checked.",
)
@seed_option
@backend_options
@click.argument("title")
@click.pass_obj
def domains_draft(
    screen: Screen,
    /,
    out: Path | None,
    category: str,
    rounds: int,
    services: int,
    seed: int,
    title: str,
    **options: Any,
) -> None:
    """Let a model write a world for TITLE (or a domain of the list), and mend it until the checker is content.

    Example: carg domains draft "Falconry" --backend openai/gpt-5
    """
    from carg.talking import show_draft

    if (road := make_road(seed, options)) is None:
        raise click.UsageError("a world is drafted by a model: name one with --backend")
    show_draft(screen, title, out, road, category=category, rounds=rounds, services=services)


@cli.group()
def stats() -> None:
    """Measure a run: what a classifier can guess, what the tools are."""


@stats.command("leaks")
@run_option
@click.pass_obj
def stats_leaks(screen: Screen, run: Path) -> None:
    """What a linear classifier guesses from the call alone, by class of fault; and repeated session shapes.

    Example: carg stats leaks --run outputs/mine
    """
    from carg.talking import show_leaks

    show_leaks(screen, run)


@stats.command("tools")
@run_option
@click.pass_obj
def stats_tools(screen: Screen, run: Path) -> None:
    """Tools by domain: authored and generic, skeletons, near duplicates.

    Example: carg stats tools --run outputs/mine
    """
    from carg.talking import show_tools

    show_tools(screen, run)


@stats.command("teacher")
@run_option
@click.pass_obj
def stats_teacher(screen: Screen, run: Path) -> None:
    """How often the models of `generate --backend MODEL` agreed with executed truth, by kind of call.

    Example: carg stats teacher --run outputs/mine
    """
    from carg.stages.teacher import truth_pairs
    from carg.stats.teacher import measure_teacher
    from carg.talking import show_tables

    show_tables(screen, [measure_teacher(truth_pairs(run))])


@cli.command()
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


def main() -> None:
    """Run the command; a known failure is two lines and its exit code."""
    try:
        code = cli(standalone_mode=False)
    except click.exceptions.Exit as done:
        code = done.exit_code
    except click.ClickException as fault:
        fault.show()
        code = fault.exit_code
    except (click.Abort, KeyboardInterrupt):
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        code = 130
    except CargError as fault:
        Screen().error(fault.message, fault.hint)
        code = fault.exit_code
    sys.exit(code if isinstance(code, int) else 0)

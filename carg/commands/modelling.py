"""Commands about models: train one, ask one."""

from __future__ import annotations

import sys
import typing
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from carg.console import Screen
from carg.gtm.settings import FinetuneSettings, is_first
from carg.options import DEFAULT_RUN, fresh_option, model_options, run_option, seed_option


def settings_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """An option for each field of FinetuneSettings, in their order; what is not given stays None."""
    hints = typing.get_type_hints(FinetuneSettings)
    for item in reversed(fields(FinetuneSettings)):
        kinds = [kind for kind in typing.get_args(hints[item.name]) if kind is not type(None)]
        choices = typing.get_args(kinds[0]) if kinds else ()
        kind = click.Choice(choices or kinds) if choices or len(kinds) > 1 else (kinds or [hints[item.name]])[0]
        flag = "--" + item.name.replace("_", "-")
        if kind is bool:
            flag, kind = f"{flag}/--no-{flag[2:]}", None
        default = "" if item.default is None else f" Default: {str(item.default).lower()}."
        command = click.option(flag, item.name, type=kind, default=None, help=item.metadata["help"] + default)(command)
    return command


@click.command()
@click.option("--run", type=click.Path(path_type=Path), help=f"Folder of the run. Default: {DEFAULT_RUN}.")
@click.option("--dataset", type=click.Path(path_type=Path), help="A dataset folder; default: that of the run.")
@click.option("--out", type=click.Path(path_type=Path), help="Where the model goes; default: RUN/model.")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="The file of `carg run`: folder, seed, [finetune]. Flags go first.",
)
@settings_options
@fresh_option
@click.pass_obj
def finetune(screen: Screen, /, run: Path | None, config: Path | None, fresh: bool, **options: Any) -> None:
    """Train the tool simulator on the shards; goes on where it was interrupted.

    \b
    Example: carg finetune --run outputs/mine --init tiny --minutes 10
    On 8 GPUs: torchrun --nproc-per-node 8 -m carg finetune --run outputs/mine
    """
    from carg.training import choose, train

    dataset, out, chosen = choose(run, config, {name: value for name, value in options.items() if value is not None})
    report = train(screen, dataset, out, fresh=fresh, **chosen)
    if not is_first():
        return
    if screen.as_json:
        from carg.pipeline import told

        screen.json(told(report))
    else:
        screen.note(f"next: carg evaluate {dataset} -b gtm:{out} -b nearest -b world")


@click.command()
@run_option
@click.option("--service", help="domain/service, a domain, or an instance id; default: the first of the run.")
@click.option("--tool", help="A tool that must be among those shown.")
@click.option(
    "--backend",
    "-b",
    multiple=True,
    default=("world",),
    show_default=True,
    help="world, gtm:DIR, a litellm model, or stand-in (no world, no model); several: side by side.",
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
    if chat and sys.stdin.isatty():
        shown = ", ".join(simulation.scene.session.tools)
        screen.note(f'a call a line, as {{"tool": ..., "arguments": {{...}}}}; Ctrl-D ends. Tools: {shown}')
    talk(screen, simulation, call, lines, backend, api_base, seed)


@click.command()
@click.argument("dataset", required=False, type=click.Path(path_type=Path))
@click.option("--run", type=click.Path(path_type=Path), help="The run of the dataset; default: the folder it is in.")
@click.option(
    "--backend",
    "-b",
    multiple=True,
    default=("world", "twin", "echo", "nearest"),
    show_default=True,
    help="gtm:DIR, a litellm model, or a control: world, twin[:SEED], echo, nearest. Several: on the same items.",
)
@click.option("--split", multiple=True, help="A split to measure; default: test_tools, test_domains, test_real.")
@click.option("--limit", type=click.IntRange(1), default=2000, show_default=True, help="Exchanges of each split.")
@click.option("--compare", is_flag=True, help="Also each backend less the first, with intervals.")
@click.option("--out", type=click.Path(path_type=Path), help="The report; default: RUN/evaluation.json.")
@model_options
@click.pass_obj
def evaluate(
    screen: Screen,
    /,
    dataset: Path | None,
    run: Path | None,
    backend: tuple[str, ...],
    split: tuple[str, ...],
    limit: int,
    compare: bool,
    out: Path | None,
    **options: Any,
) -> None:
    """Measure what answers calls, on tools and domains it never saw, beside the world and controls.

    DATASET is that of --run, or of outputs/run. Goes on where it was interrupted: no answer is paid for twice.

    \b
    Example: carg evaluate outputs/mine/dataset -b world -b nearest -b gtm:outputs/mine/model --compare
    """
    from carg.config import Asking
    from carg.evaluate import Settings, evaluate
    from carg.evaluation.tables import show_report

    run = run or (dataset.parent if dataset is not None else Path(DEFAULT_RUN))
    settings = Settings(backend, split, limit, compare, Asking(**options))
    out = out or run / "evaluation.json"
    with screen.progress("evaluate", None, "answers") as advance:
        report = evaluate(run, dataset or run / "dataset", settings, out, on_count=advance)
    if screen.as_json:
        screen.json(report)
        return
    for table in show_report(report):
        screen.table(table.title, table.columns, table.rows, table.notes)
    screen.result(f"{out}; answers and verdicts, a line each: {out.with_suffix('')}/")

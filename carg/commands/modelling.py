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
from carg.options import DEFAULT_RUN, fresh_option, run_option, seed_option


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
        default = "" if item.default is None else f" [default: {str(item.default).lower()}]"
        command = click.option(flag, item.name, type=kind, default=None, help=item.metadata["help"] + default)(command)
    return command


@click.command()
@click.option("--run", type=click.Path(path_type=Path), help=f"Folder of the run [default: {DEFAULT_RUN}].")
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
    if screen.as_json and is_first():
        from carg.pipeline import told

        screen.json(told(report))


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
    talk(screen, simulation, call, lines, backend, api_base, seed)

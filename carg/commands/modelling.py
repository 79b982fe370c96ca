"""Commands about models: train one, ask one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from carg.console import Screen
from carg.options import fresh_option, run_option, seed_option


@click.command()
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

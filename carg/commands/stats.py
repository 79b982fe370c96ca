"""Commands that measure a run."""

from __future__ import annotations

from pathlib import Path

import click

from carg.console import Screen
from carg.options import run_option


@click.group()
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


@stats.command("realism")
@run_option
@click.option("--real", required=True, type=click.Path(path_type=Path), help="A run that `carg import` made.")
@click.pass_obj
def stats_realism(screen: Screen, run: Path, real: Path) -> None:
    """How far tools and answers are from real ones: the same measures of both, side by side.

    Example: carg stats realism --run outputs/mine --real outputs/real
    """
    from carg.talking import show_realism

    show_realism(screen, run, real)


@stats.command("rows")
@run_option
@click.option("--dataset", type=click.Path(path_type=Path), help="A dataset folder; default: that of the run.")
@click.pass_obj
def stats_rows(screen: Screen, run: Path, dataset: Path | None) -> None:
    """Rows of the dataset by split, and whether level or view of a row tell the label.

    Example: carg stats rows --run outputs/mine
    """
    from carg.stats.rows import measure_rows
    from carg.talking import show_tables

    show_tables(screen, measure_rows(dataset or run / "dataset"))

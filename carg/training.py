"""`carg finetune` as people see it: settings from flags and a file, a line of progress, a table at the end."""

from __future__ import annotations

import contextlib
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from carg.config import RunSettings, read_config
from carg.console import LINE_EVERY_S, Screen
from carg.errors import ConfigError
from carg.gtm.settings import FinetuneReport, FinetuneSettings, StepReport, is_first
from carg.store import set_aside


def choose(run: Path | None, config: Path | None, flags: Mapping[str, Any]) -> tuple[Path, Path, dict[str, Any]]:
    """Dataset, output folder and settings: flags go before the file, the file before the folder of the run.

    Raises ConfigError for a file with faults, all at once, or without [finetune].
    """
    told: dict[str, Any] = {}
    folder = run or Path(RunSettings().folder)
    if config is not None:
        file = read_config(config)
        if file.finetune is None:
            raise ConfigError(f"{config}: there is no [finetune] table", "add one, or leave --config out")
        folder, told = run or file.folder, {"seed": file.run.seed, **file.finetune}
        if flags.keys() & {"init", "base"}:
            told = {name: value for name, value in told.items() if name not in ("init", "base")}
    told |= flags
    dataset, out = told.pop("dataset", folder / "dataset"), told.pop("out", folder / "model")
    return Path(dataset), Path(out), told


def train(
    screen: Screen, dataset: Path, out: Path, *, fresh: bool = False, until: float = math.inf, **options: Any
) -> FinetuneReport:
    """The report of a training run on the dataset. Raises ConfigError where the train extra is missing.

    At `until` (of time.monotonic) it stops with a checkpoint, as at SIGTERM, and TryLater is raised.
    """
    need_extra()
    from carg.finetune import finetune

    if not is_first():
        screen = Screen(quiet=True, as_json=screen.as_json)
    elif fresh:
        set_aside(out)
    with show_steps(screen) as show:

        def step(report: StepReport) -> None:
            nonlocal until
            show(report)
            if time.monotonic() >= until:
                until = math.inf
                signal.raise_signal(signal.SIGTERM)

        report = finetune(dataset, out, FinetuneSettings(**options), on_step=step, on_note=screen.note)
    if is_first() and not screen.as_json:
        show_training(screen, report)
    return report


def need_extra() -> None:
    """Raises ConfigError where the packages that train are missing."""
    try:
        import torch
        import transformers
    except ImportError as fault:
        raise ConfigError(f"training needs {fault.name}", "pip install 'carg[train]'") from fault
    del torch, transformers


@contextlib.contextmanager
def show_steps(screen: Screen) -> Iterator[Callable[[StepReport], None]]:
    """What is to be told of each step: a bar on a terminal, a line every few seconds in a log."""
    if screen.quiet or not sys.stderr.isatty():
        yield _lines(screen)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = [TextColumn("finetune"), BarColumn(20), TextColumn("{task.description}")]
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("preparing", total=None)

        def show(report: StepReport) -> None:
            whole = report.elapsed_s + report.eta_s
            bar.update(task, total=whole, completed=report.elapsed_s, description=describe_step(report))

        yield show


def _lines(screen: Screen) -> Callable[[StepReport], None]:
    last = time.monotonic()

    def show(report: StepReport) -> None:
        nonlocal last
        if report.step in (1, report.steps) or time.monotonic() - last >= LINE_EVERY_S:
            last = time.monotonic()
            screen.note(describe_step(report))

    return show


def describe_step(report: StepReport) -> str:
    """One line: step, loss, token accuracy, speed, share of the GPU's peak, memory, time left."""
    parts = [f"step {report.step:,}/{report.steps:,}", f"loss {report.loss:.3f}", f"accuracy {report.accuracy:.1%}"]
    parts.append(f"{report.tokens_per_s:,.0f} tokens/s")
    if report.mfu is not None:
        parts.append(f"MFU {report.mfu:.1%}")
    minutes, seconds = divmod(round(report.eta_s), 60)
    left = f"{minutes // 60}:{minutes % 60:02}:{seconds:02}" if minutes >= 60 else f"{minutes}:{seconds:02}"
    return "  ".join([*parts, f"{report.memory_bytes / 1e9:.1f} GB", f"{left} left"])


def show_training(screen: Screen, report: FinetuneReport) -> None:
    """What a training run came to."""
    rows: list[tuple[str, Any]] = [
        ("parameters", report.parameters),
        ("conversations", report.conversations),
        ("steps", report.steps),
        ("tokens", report.tokens),
        ("supervised share", report.supervised / max(report.tokens, 1)),
        ("loss (nats per supervised token)", report.loss),
        ("token accuracy", report.accuracy),
        ("tokens/s", report.tokens_per_s),
        ("seconds", report.elapsed_s),
    ]
    for item in report.evals:
        rows += [(f"{item.split}: loss", item.loss), (f"{item.split}: token accuracy", item.accuracy)]
    screen.table(f"finetune -> {report.out}", ("what", "value"), rows)

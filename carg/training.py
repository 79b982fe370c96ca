"""`carg finetune` as people see it: settings from flags, a line of progress, a table at the end."""

from __future__ import annotations

import errno
import math
import signal
import time
from pathlib import Path
from typing import Any

from carg.console import Screen
from carg.errors import ConfigError, TrainError
from carg.store import set_aside


def train(
    screen: Screen, dataset: Path, out: Path, *, fresh: bool = False, until: float = math.inf, **options: Any
) -> Any:
    """The report of a training run on the dataset. Raises ConfigError where the train extra is missing.

    At `until` (of time.monotonic) it stops with a checkpoint, as at SIGTERM, and TryLater is raised.
    """
    from carg.gtm.settings import FinetuneSettings

    if options.get("init") is None and options.get("base") is None:
        options["base"] = "Qwen/Qwen2.5-1.5B"
    need_extra()
    from safetensors import SafetensorError

    from carg.finetune import finetune

    if fresh:
        set_aside(out)
    settings = FinetuneSettings(**options)
    shown = _Line(screen, until)
    with screen.progress("finetune", None, "tokens") as advance:
        shown.advance = advance
        try:
            report = finetune(dataset, out, settings, on_step=shown.step, on_note=screen.note)
        except (OSError, SafetensorError) as fault:
            if isinstance(fault, OSError) and fault.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise TrainError(
                f"cannot write to {out}: {fault}",
                "free some space, then run the same command again: it goes on from its last checkpoint",
            ) from fault
    if not screen.as_json:
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


class _Line:
    """Tells progress what a step adds."""

    def __init__(self, screen: Screen, until: float) -> None:
        self.screen, self.until = screen, until
        self.tokens = 0
        self.advance: Any = None

    def step(self, step: Any) -> None:
        """One optimizer step."""
        self.advance(step.tokens - self.tokens)
        self.tokens = step.tokens
        if time.monotonic() >= self.until:
            self.until = math.inf
            signal.raise_signal(signal.SIGTERM)
        if step.step % max(1, step.steps // 20) == 0:
            self.screen.note(
                f"step {step.step}/{step.steps}: loss {step.loss:.3f}, accuracy {step.accuracy:.3f}, "
                f"{step.tokens_per_s:,.0f} tokens/s, {step.eta_s:,.0f} s left"
            )


def show_training(screen: Screen, report: Any) -> None:
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


__all__ = ["need_extra", "show_training", "train"]

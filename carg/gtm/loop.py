"""The training loop: packed rows in, weights that changed out; it prints nothing and tells `on_step` everything."""

from __future__ import annotations

import math
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from carg.errors import TrainError, TryLater
from carg.gtm import checkpoint
from carg.gtm.cache import Cache
from carg.gtm.checkpoint import Pledge, Progress
from carg.gtm.optimizers import make_optimizers
from carg.gtm.pack import Documents, Packed, Plan, blank_row, fill_row, plan_rows
from carg.gtm.parallel import World, gather
from carg.gtm.settings import EvalReport, FinetuneSettings, StepReport, checkpoint_home

LOWEST_LR = 0.1
"""Share of the learning rate that is left at the end of the cosine."""

DIVERGED = 1.5
"""A smoothed loss this many times its lowest, plus half a nat, is not coming back."""


@dataclass(frozen=True, slots=True)
class Split:
    """A tokenised split and the documents of it that fit."""

    name: str
    cache: Cache
    documents: Documents


@dataclass(frozen=True, slots=True)
class Job:
    """All that a training run works with."""

    learner: nn.Module
    train: Split
    held_out: tuple[Split, ...]
    settings: FinetuneSettings
    """Resolved."""
    pledge: Pledge
    compute: torch.dtype
    world: World
    out: Path
    flops_per_token: float
    peak: float | None
    n_slots: int = 0
    """Documents that a row has room for where one kernel serves it; 0 elsewhere."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What the loop leaves behind, apart from the weights in the learner."""

    progress: Progress
    steps: list[StepReport]
    """Of this process's life: a resumed run holds only its own."""
    evals: tuple[EvalReport, ...]
    fill: float


OnEval = Callable[[int, tuple[EvalReport, ...]], None]
"""Hears the step and what was measured after it."""


class Moved(NamedTuple):
    """What one optimizer step did; sums are over all rows and processes."""

    loss: float
    n_right: int
    n_supervised: int
    n_tokens: int
    norm: float
    """Of the gradient, before clipping."""


def train(job: Job, *, on_step: Callable[[StepReport], None], on_eval: OnEval) -> Trained:
    """Train until the steps or the minutes are over, from the newest checkpoint where there is one.

    Raises TryLater after SIGTERM, with a checkpoint written; TrainError when loss or gradient is not a number or
    the loss diverges, naming the newest checkpoint.
    """
    settings, world, home = job.settings, job.world, checkpoint_home(job.out)
    optimizers = make_optimizers(job.learner, settings, world)
    progress = Progress()
    if found := checkpoint.find_checkpoints(home):
        progress = checkpoint.load(found[-1], job.learner, optimizers, job.pledge)

    plan = plan_epoch(job, progress.epoch)
    n_steps = settings.steps or math.ceil(settings.epochs * plan.n_rows / rows_per_step(settings))
    fill = float(job.train.documents.lengths.sum() / (plan.n_rows * width(settings)))
    limit_s = (settings.minutes or math.inf) * 60
    reports: list[StepReport] = []
    kept = progress.step if found else -1
    with _watch_for_end() as told:
        while progress.step < n_steps and progress.elapsed_s < limit_s:
            if progress.row >= plan.n_rows:
                progress.epoch, progress.row = progress.epoch + 1, 0
                plan = plan_epoch(job, progress.epoch)
            started = time.perf_counter()
            share = max(progress.step / n_steps, progress.elapsed_s / limit_s)
            rate = float(settings.lr or 0) * schedule(share, settings.warmup)
            moved = _step(job, optimizers, plan, progress, rate)
            # One clock for all: the schedule of each process must come out the same.
            step_s = world.sum([time.perf_counter() - started])[0] / world.size
            progress.elapsed_s += step_s
            left_s = min((n_steps - progress.step) * step_s, limit_s - progress.elapsed_s)
            expected = min(n_steps, progress.step + max(0, math.ceil(left_s / step_s)))
            reports.append(_report(job, progress, moved, n_steps=expected, rate=rate, step_s=step_s, left_s=left_s))
            _guard(reports[-1], progress, home)
            on_step(reports[-1])
            is_told = world.sum([float(told.is_set())])[0] > 0
            if settings.eval_every and progress.step % settings.eval_every == 0:
                on_eval(progress.step, evaluate(job))
            if is_told or progress.step % settings.checkpoint_every == 0:
                checkpoint.save(home, job.learner, optimizers, progress, job.pledge, world=world, keep=settings.keep)
                kept = progress.step
            if is_told:
                raise TryLater(
                    f"told to end after step {progress.step} of {n_steps}; {home} holds all of it",
                    "give the same command again to go on",
                )
    if kept != progress.step:
        checkpoint.save(home, job.learner, optimizers, progress, job.pledge, world=world, keep=settings.keep)
    evals = evaluate(job)
    on_eval(progress.step, evals)
    return Trained(progress, reports, evals, fill)


def _step(job: Job, optimizers: Sequence[torch.optim.Optimizer], plan: Plan, progress: Progress, rate: float) -> Moved:
    """One optimizer step; the loss is per supervised token of the whole step, over all rows and processes."""
    settings, world = job.settings, job.world
    torch.manual_seed(settings.seed + progress.step)  # a resumed run then needs no generator state
    last = min(progress.row + rows_per_step(settings), plan.n_rows)
    numbers = range(progress.row, last)
    rows = take_rows(job, job.train, plan, numbers, context_weight=settings.context_weight or 0.0)
    weights = np.concatenate([row.weights for row in rows])
    counts = [sum(row.n_tokens for row in rows), int(np.count_nonzero(weights == 1)), float(weights.sum())]
    n_tokens, n_supervised, weight = world.sum(counts)
    sums = torch.zeros(2, dtype=torch.float64, device=world.device)  # read once: a GPU then never waits for us
    for row in rows:
        with autocast(job):
            score = job.learner(row, **row_shape(job))
        # FSDP takes the mean of gradients over processes; we divide by the weight of all of them.
        (score.objective * (world.size / max(weight, 1.0))).backward()
        sums += torch.stack([score.loss.detach().double(), score.n_right.double()])
    norm = _clip(job.learner, settings.clip)
    for optimizer in optimizers if math.isfinite(norm) else ():
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
    job.learner.zero_grad(set_to_none=True)
    loss, right = world.sum(sums.tolist())
    progress.step, progress.row = progress.step + 1, last
    progress.tokens += int(n_tokens)
    progress.supervised += int(n_supervised)
    return Moved(loss, int(right), int(n_supervised), int(n_tokens), norm)


def _clip(learner: nn.Module, limit: float) -> float:
    norm = nn.utils.clip_grad_norm_(learner.parameters(), limit)
    return float(gather(norm))


def _report(
    job: Job, progress: Progress, moved: Moved, *, n_steps: int, rate: float, step_s: float, left_s: float
) -> StepReport:
    per_s = moved.n_tokens / step_s
    peak = job.peak and job.peak * job.world.size
    return StepReport(
        step=progress.step,
        steps=n_steps,
        epoch=progress.epoch,
        loss=moved.loss / max(moved.n_supervised, 1),
        accuracy=moved.n_right / max(moved.n_supervised, 1),
        lr=rate,
        grad_norm=moved.norm,
        tokens=progress.tokens,
        supervised_share=moved.n_supervised / max(moved.n_tokens, 1),
        tokens_per_s=per_s,
        mfu=per_s * job.flops_per_token / peak if peak else None,
        memory_bytes=measure_memory(job.world.device),
        elapsed_s=progress.elapsed_s,
        eta_s=left_s,
    )


def _guard(report: StepReport, progress: Progress, home: Path) -> None:
    """Raise TrainError when the run went wrong, naming the newest checkpoint from before it."""
    smooth = report.loss if report.step == 1 else 0.9 * progress.smooth_loss + 0.1 * report.loss
    progress.smooth_loss = smooth
    progress.best_loss = min(progress.best_loss, smooth)
    if not (math.isfinite(report.loss) and math.isfinite(report.grad_norm)):
        fault = f"loss {report.loss}, gradient norm {report.grad_norm}"
    elif smooth > DIVERGED * progress.best_loss + 0.5:
        fault = f"the loss diverged: {smooth:.3f} on average, after {progress.best_loss:.3f}"
    else:
        return
    found = checkpoint.find_checkpoints(home)
    good = f"the newest checkpoint is {found[-1]}" if found else "no checkpoint was written yet"
    raise TrainError(f"step {report.step}: {fault}; {good}", "train into a new folder with a lower lr or compute=fp32")


def evaluate(job: Job) -> tuple[EvalReport, ...]:
    """Loss and accuracy on each held-out split, on at most `eval_rows` packed rows of it."""
    job.learner.eval()
    reports = tuple(_evaluate_split(job, split) for split in job.held_out)
    job.learner.train()
    return reports


@torch.no_grad()
def _evaluate_split(job: Job, split: Split) -> EvalReport:
    plan = plan_rows(split.documents.lengths, width(job.settings), seed=0, epoch=0)
    n_rows = min(plan.n_rows, job.settings.eval_rows or plan.n_rows)
    loss, n_right, n_supervised = 0.0, 0, 0
    for row in take_rows(job, split, plan, range(n_rows)):
        with autocast(job):
            score = job.learner(row, **row_shape(job))
        loss, n_right = loss + score.loss.item(), n_right + int(score.n_right)
        n_supervised += len(row.select)
    loss, right, supervised = job.world.sum([loss, n_right, n_supervised])
    return EvalReport(split.name, loss / max(supervised, 1), right / max(supervised, 1), int(supervised))


def plan_epoch(job: Job, epoch: int) -> Plan:
    """The rows of an epoch of the training split."""
    return plan_rows(job.train.documents.lengths, width(job.settings), seed=job.settings.seed, epoch=epoch)


def width(settings: FinetuneSettings) -> int:
    """Tokens of a row."""
    return settings.row_tokens or 0


def rows_per_step(settings: FinetuneSettings) -> int:
    """Rows of an optimizer step, over all processes."""
    return (settings.batch_tokens or 0) // width(settings)


def take_rows(job: Job, split: Split, plan: Plan, numbers: range, *, context_weight: float = 0.0) -> list[Packed]:
    """The rows among `numbers` that this process trains on; blank ones where there are too few for all.

    Every process gets equally many, for each pass through a sharded model is a joint act.
    """
    rank, size = job.world.rank, job.world.size
    pad_to = width(job.settings) if job.world.device.type == "cuda" else 0
    own = [
        fill_row(split.cache, split.documents, plan, number, pad_to=pad_to, context_weight=context_weight)
        for number in numbers[rank::size]
    ]
    return own + [blank_row(pad_to or 8)] * (math.ceil(len(numbers) / size) - len(own))


def row_shape(job: Job) -> dict[str, int]:
    """Sizes that stay the same from row to row, so that kernels are compiled once."""
    return {"longest": width(job.settings), "n_slots": job.n_slots}


def count_slots(splits: Sequence[Split], row_tokens: int) -> int:
    """Room for the documents of any row of any epoch: a power of two above those of the first ones.

    A row that needs more is still right; its layers are compiled anew, up to dynamo's limit.
    """
    plans = [plan_rows(split.documents.lengths, row_tokens, seed=0, epoch=0) for split in splits]
    most = max(int(np.diff(plan.bounds).max()) for plan in plans) + 1
    return 1 << int(1.25 * most).bit_length()


def autocast(job: Job) -> AbstractContextManager[Any]:
    """bf16 matrix products where the run computes in bf16; sharded models do that by their own policy."""
    if job.compute == torch.float32 or job.world.size > 1:
        return nullcontext()
    return torch.autocast(job.world.device.type, job.compute)


def schedule(share: float, warmup: float) -> float:
    """The learning rate over its highest when `share` of the run is done: linear up, then a cosine down."""
    if share < warmup:
        return max(share / warmup, 0.01)
    return LOWEST_LR + (1 - LOWEST_LR) * (1 + math.cos(math.pi * (share - warmup) / (1 - warmup))) / 2


def measure_memory(device: torch.device) -> int:
    """Most bytes that this process has held: on the GPU where there is one, else resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextmanager
def _watch_for_end() -> Iterator[threading.Event]:
    """An event that SIGTERM sets. Only the main thread can listen; elsewhere it is never set."""
    told = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield told
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: told.set())
    try:
        yield told
    finally:
        signal.signal(signal.SIGTERM, before)

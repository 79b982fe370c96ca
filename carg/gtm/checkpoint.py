"""Checkpoints: weights, optimizer and place in the data, written whole or not at all; the newest k are kept.

A checkpoint is a folder `step-000120` of `weights.safetensors`, `optimizer.safetensors` and `state.json`. Nothing
is pickled, and every tensor is stored whole, so that a run may go on with another number of processes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson
import torch
from torch import Tensor, nn

from carg.errors import TrainError
from carg.gtm.parallel import World, gather, scatter_into


@dataclass(slots=True)
class Progress:
    """How far a run is; the loop moves it on, a checkpoint keeps it."""

    step: int = 0
    epoch: int = 0
    row: int = 0
    """Rows of the epoch that are done."""
    tokens: int = 0
    supervised: int = 0
    elapsed_s: float = 0.0
    smooth_loss: float = 0.0
    """Average that forgets a tenth at each step."""
    best_loss: float = float("inf")
    """Lowest `smooth_loss` so far."""


@dataclass(frozen=True, slots=True)
class Pledge:
    """What must not change between the runs that share checkpoints."""

    dataset: str
    tokenizer: str
    settings: dict[str, Any]


def save(
    home: Path,
    learner: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    progress: Progress,
    pledge: Pledge,
    *,
    world: World,
    keep: int,
) -> Path:
    """Write a checkpoint beside its place, sync it and rename it there; then remove all but the newest `keep`."""
    from safetensors.torch import save_file

    weights = {name: gather(weight) for name, weight in trained(learner).items()}
    moments = {
        f"{name}/{moment}": gather(value)
        for name, weight in trained(learner).items()
        for moment, value in _holder(optimizers, weight).state[weight].items()
    }
    place = home / f"step-{progress.step:06d}"
    if world.rank == 0:
        draft = home / f"{place.name}.tmp"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        state = {"progress": asdict(progress), "pledge": asdict(pledge)}
        try:
            save_file({name: weight.contiguous() for name, weight in weights.items()}, draft / "weights.safetensors")
            save_file({name: value.contiguous() for name, value in moments.items()}, draft / "optimizer.safetensors")
            (draft / "state.json").write_bytes(orjson.dumps(state, option=orjson.OPT_INDENT_2))
            for file in draft.iterdir():
                _sync(file)
        except BaseException:  # a full disk is not to hold half a checkpoint
            shutil.rmtree(draft, ignore_errors=True)
            raise
        shutil.rmtree(place, ignore_errors=True)
        draft.rename(place)
        _sync(home)
        for old in find_checkpoints(home)[:-keep]:
            shutil.rmtree(old)
    world.wait()
    return place


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def trained(learner: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that learn, by name; tied ones once."""
    return {name: weight for name, weight in learner.named_parameters() if weight.requires_grad}


def find_checkpoints(home: Path) -> list[Path]:
    """The whole checkpoints of a run, oldest first."""
    return sorted(place for place in home.glob("step-*") if (place / "state.json").exists())


def _holder(optimizers: Sequence[torch.optim.Optimizer], weight: nn.Parameter) -> torch.optim.Optimizer:
    """The optimizer that moves a weight."""
    holds = (
        (optimizer, held) for optimizer in optimizers for group in optimizer.param_groups for held in group["params"]
    )
    return next(optimizer for optimizer, held in holds if held is weight)


def load(place: Path, learner: nn.Module, optimizers: Sequence[torch.optim.Optimizer], pledge: Pledge) -> Progress:
    """Put weights and optimizer back and say how far the run was.

    Raises TrainError when dataset, tokenizer or settings are not those of the checkpoint, and names what changed;
    or when the checkpoint cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = orjson.loads((place / "state.json").read_bytes())
        weights, moments = (load_file(place / f"{part}.safetensors") for part in ("weights", "optimizer"))
    except (OSError, ValueError, SafetensorError) as fault:
        raise TrainError(
            f"{place} cannot be read: {fault}", "remove that folder to go on from the one before"
        ) from fault
    if changes := _find_changes(Pledge(**state["pledge"]), pledge):
        raise TrainError(
            f"{place.parent.parent} was begun otherwise: " + "; ".join(changes),
            "train into another folder, or put back what changed",
        )
    shapes = {name: weight.shape for name, weight in trained(learner).items()}
    if shapes != {name: weight.shape for name, weight in weights.items()}:
        raise TrainError(f"{place} holds weights of another model", "train into another folder")
    for name, weight in trained(learner).items():
        scatter_into(weight, weights[name])
        own = {key.rsplit("/", 1)[1]: value for key, value in moments.items() if key.rsplit("/", 1)[0] == name}
        state_of = _holder(optimizers, weight).state
        state_of[weight] = {moment: _placed(value, weight) for moment, value in own.items()}
    return Progress(**state["progress"])


def _placed(moment: Tensor, weight: Tensor) -> Tensor:
    """A moment of the optimizer laid out as its weight is; the step count is a scalar that stays whole."""
    if moment.dim() == 0:
        return moment.to(weight.device)
    place = torch.zeros_like(weight)
    scatter_into(place, moment)
    return place


def _find_changes(was: Pledge, now: Pledge) -> list[str]:
    changes = [f"the {name} changed" for name in ("dataset", "tokenizer") if getattr(was, name) != getattr(now, name)]
    return changes + [
        f"{name} was {was.settings.get(name)!r} and is {value!r}"
        for name, value in now.settings.items()
        if was.settings.get(name) != value
    ]

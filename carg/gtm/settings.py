"""What a training run can be told, and what it reports: plain records, free of torch."""

# ruff: noqa: RUF009  # _told is dataclasses.field

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from carg.errors import ConfigError

Init = Literal["tiny", "small", "1.5b"]


DEFAULT_BASE = "Qwen/Qwen2.5-1.5B"


def _told(default: Any, reason: str) -> Any:
    """A field whose reason is what `carg finetune --help` says of its flag."""
    return field(default=default, metadata={"help": reason})


@dataclass(frozen=True, slots=True)
class FinetuneSettings:
    """Settings of a training run; None means "what suits the model", filled in by `resolve`.

    Each is a flag of `carg finetune` and a key of [finetune] in a config, under its own name.
    """

    init: Init | None = _told(None, "Train fresh weights of this size, with a tokenizer learnt from the shards.")
    base: str | None = _told(None, f"Start from this folder or hub name. Default without --init: {DEFAULT_BASE}.")
    rows: str = _told(
        "simulator",
        "Config of the dataset to train on: simulator or selection; selection:rank takes its rows labelled rank alone. "
        "Two stages are two runs, the second with --base FOLDER-OF-THE-FIRST.",
    )
    vocab_size: int | None = _told(None, "Most tokens of a learnt tokenizer; only with --init.")
    context: int | None = _told(
        None, "Longest conversation in tokens; longer ones end after the last answer that fits."
    )
    row_tokens: int | None = _told(
        None, "Tokens that go through the model at once, whole conversations side by side: sets the memory needed."
    )
    batch_tokens: int | None = _told(
        None,
        "Tokens of one optimizer step over all processes: a multiple of --row-tokens. More is steadier, not faster.",
    )
    lr: float | None = _told(None, "Highest learning rate, reached after the warmup; a cosine takes it to a tenth.")
    context_weight: float | None = _told(
        None,
        "Weight in the loss of what is not an answer (definitions, state, calls). 0 for a base, which can read; "
        "0.3 for fresh weights, which learn to read and copy from it: it is nine tokens of ten.",
    )
    warmup: float = _told(0.03, "Share of the run in which the learning rate rises.")
    optimizer: Literal["adamw", "muon"] | None = _told(
        None,
        "muon makes the updates of the decoder's matrices near-rotations, AdamW keeps the rest: fresh weights get as "
        "far in half the steps. It needs whole matrices, hence one process. adamw for a base, which was trained so.",
    )
    weight_decay: float = _told(0.1, "Of matrices; norms and biases are left alone.")
    beta2: float = _told(0.95, "Of AdamW: 0.95 forgets a loss spike sooner than 0.999; beta1 is 0.9.")
    clip: float = _told(1.0, "Largest norm of the gradient.")
    epochs: float = _told(2.0, "Passes over the training split; --steps goes before it.")
    steps: int | None = _told(None, "Optimizer steps.")
    minutes: float | None = _told(
        None, "End by the clock; the learning rate is timed to fall by then. Such a run is not repeatable."
    )
    seed: int = _told(0, "Of fresh weights and of the order of rows.")
    checkpoint_every: int = _told(200, "Steps between checkpoints; one is also written at the end and on SIGTERM.")
    keep: int = _told(2, "Checkpoints kept; the newest ones.")
    eval_every: int = _told(0, "Steps between measurements on the held-out splits; 0: only at the end.")
    eval_rows: int = _told(64, "Packed rows measured of each held-out split; 0: all.")
    device: str = _told("auto", "auto (the GPU where there is one), cpu, cuda or cuda:N.")
    compute: Literal["auto", "bf16", "fp32"] = _told(
        "auto", "Dtype of matrix products; auto is bf16 where the hardware is fast at it. Weights stay in fp32."
    )
    recompute: bool = _told(False, "Recompute activations on the way back: a fifth slower, a fraction of the memory.")
    compile: bool = _told(True, "Compile decoder layers, where there is a GPU: a minute at the start, then faster.")
    lora_rank: int = _told(0, "Train low-rank adapters of all linear layers, merged at the end; 0: every weight.")


_BY_INIT: dict[str, dict[str, Any]] = {
    "tiny": {"vocab_size": 2048, "context": 4096, "row_tokens": 4096, "batch_tokens": 4096, "lr": 1e-2},
    "small": {"vocab_size": 16_384, "context": 8192, "row_tokens": 8192, "batch_tokens": 65_536, "lr": 6e-4},
    "1.5b": {"vocab_size": 49_152, "context": 8192, "row_tokens": 16_384, "batch_tokens": 131_072, "lr": 3e-4},
}
_FRESH: dict[str, Any] = {"context_weight": 0.3, "optimizer": "muon"}
_BASE: dict[str, Any] = {"vocab_size": 0, "context": 8192, "row_tokens": 16_384, "batch_tokens": 131_072, "lr": 1e-5}
_TAUGHT: dict[str, Any] = {"context_weight": 0.0, "optimizer": "adamw"}
_LORA_LR = 2e-4

_FREE = {"minutes", "checkpoint_every", "keep", "eval_every", "eval_rows", "device", "recompute", "compile"}
"""Settings that may change when a run goes on: none of them decides what a step does to the weights."""

_ROWS = re.compile(r"(simulator|selection)(:[^:,]+(,[^:,]+)*)?")


def resolve(settings: FinetuneSettings) -> FinetuneSettings:
    """The settings with every None filled in. Raises ConfigError with all faults at once."""
    if settings.init is None and settings.base is None:
        settings = replace(settings, base=DEFAULT_BASE)
    defaults = {**_BY_INIT.get(settings.init or "", _BASE), **(_FRESH if settings.init else _TAUGHT)}
    if n_processes() > 1:  # weights are sharded then, and Muon needs whole ones
        defaults["optimizer"] = "adamw"
    if settings.lora_rank:
        defaults["lr"] = _LORA_LR
    if settings.context and not settings.row_tokens:
        defaults["row_tokens"] = max(defaults["row_tokens"], settings.context)
    if settings.batch_tokens and not settings.row_tokens:
        defaults["row_tokens"] = max(min(defaults["row_tokens"], settings.batch_tokens), settings.context or 0)
        defaults["context"] = min(defaults["context"], defaults["row_tokens"])
    if settings.row_tokens and not settings.context:
        defaults["context"] = min(defaults["context"], settings.row_tokens)
    row_tokens = settings.row_tokens or defaults["row_tokens"]
    defaults["batch_tokens"] = max(1, defaults["batch_tokens"] // max(row_tokens, 1)) * row_tokens
    filled = replace(settings, **{name: value for name, value in defaults.items() if getattr(settings, name) is None})
    if faults := find_faults(filled):
        raise ConfigError("finetune: " + "; ".join(faults), "mend the settings named; nothing was loaded yet")
    return filled


def find_faults(settings: FinetuneSettings) -> list[str]:
    """Every fault of resolved settings, in words."""
    faults = []
    if settings.init is not None and settings.base is not None:
        faults.append("give init (tiny, small, 1.5b) or base (folder or hub name), not both")
    if settings.init is not None and settings.init not in _BY_INIT:
        faults.append(f"init {settings.init!r} is none of {', '.join(_BY_INIT)}")
    if settings.init is not None and not _is_positive(settings.vocab_size or 0):
        faults.append(f"vocab_size {settings.vocab_size} must be above 0")
    if settings.compute not in ("auto", "bf16", "fp32"):
        faults.append(f"compute {settings.compute!r} is none of auto, bf16, fp32")
    if settings.optimizer not in ("adamw", "muon"):
        faults.append(f"optimizer {settings.optimizer!r} is none of adamw, muon")
    for name in ("context", "row_tokens", "batch_tokens", "lr", "clip", "epochs", "checkpoint_every", "keep"):
        if not _is_positive(getattr(settings, name)):
            faults.append(f"{name} {getattr(settings, name)} must be above 0")
    for name in ("steps", "minutes"):
        if getattr(settings, name) is not None and not _is_positive(getattr(settings, name)):
            faults.append(f"{name} {getattr(settings, name)} must be above 0")
    for name in ("context_weight", "weight_decay", "eval_every", "eval_rows", "lora_rank", "seed"):
        if getattr(settings, name) < 0:
            faults.append(f"{name} {getattr(settings, name)} must not be negative")
    for name in ("warmup", "beta2"):
        if not 0 <= getattr(settings, name) < 1:
            faults.append(f"{name} {getattr(settings, name)} must be in [0, 1)")
    if not _ROWS.fullmatch(settings.rows):
        faults.append(f"rows {settings.rows!r} is none of simulator, selection, or selection:LABEL")
    for name, whole in (("lora_rank", settings.lora_rank > 0), ("optimizer muon", settings.optimizer == "muon")):
        if whole and n_processes() > 1:
            faults.append(f"{name} works in one process only: drop torchrun")
    return faults + _size_faults(settings)


def split_rows(rows: str) -> tuple[str, tuple[str, ...]]:
    """The config of the dataset and the labels that `rows` names; without labels, every row is meant."""
    config, _, labels = rows.partition(":")
    return config, tuple(labels.split(",")) if labels else ()


def n_processes() -> int:
    """Processes of this run, as torchrun tells each of them."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this is the process that speaks for all."""
    return os.environ.get("RANK", "0") == "0"


def _is_positive(value: float) -> bool:
    return math.isfinite(value) and value > 0


def _size_faults(settings: FinetuneSettings) -> list[str]:
    context, row, batch = settings.context or 0, settings.row_tokens or 0, settings.batch_tokens or 0
    faults = []
    if row < context:
        faults.append(f"row_tokens {row} must hold a whole context of {context}")
    if row > 0 and batch % row:
        faults.append(f"batch_tokens {batch} must be a multiple of row_tokens {row}")
    return faults


def fixed_settings(settings: FinetuneSettings) -> dict[str, Any]:
    """The settings that a run may not change once it has begun."""
    return {item.name: getattr(settings, item.name) for item in fields(settings) if item.name not in _FREE}


@dataclass(frozen=True, slots=True)
class StepReport:
    """One optimizer step, as logged."""

    step: int
    steps: int
    """Steps that the whole run will take, as far as can be told where the clock ends it."""
    epoch: int
    loss: float
    """Cross-entropy in nats per supervised token."""
    accuracy: float
    """Share of supervised tokens that were the likeliest."""
    lr: float
    grad_norm: float
    tokens: int
    """Since the run began, over all processes."""
    supervised_share: float
    tokens_per_s: float
    """Of this step, over all processes."""
    mfu: float | None
    """Share of the peak of the GPUs (see `forecast`); None where the peak is not known."""
    memory_bytes: int
    """Most memory that this process held."""
    elapsed_s: float
    eta_s: float


@dataclass(frozen=True, slots=True)
class EvalReport:
    """A held-out split, measured: loss in nats per supervised token, and the share guessed right."""

    split: str
    loss: float
    accuracy: float
    supervised: int


@dataclass(frozen=True, slots=True)
class FinetuneReport:
    """A finished training run."""

    out: str
    parameters: int
    steps: int
    epochs: float
    tokens: int
    supervised: int
    loss: float
    accuracy: float
    """Loss and accuracy over the last tenth of the steps."""
    tokens_per_s: float
    elapsed_s: float
    conversations: int
    n_cut: int
    """Conversations cut to the context."""
    n_dropped: int
    """Conversations left out: no supervised answer fits the context."""
    fill: float
    """Share of the row width that tokens fill."""
    evals: tuple[EvalReport, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)


def checkpoint_home(out: Path) -> Path:
    """Where the checkpoints of a run lie."""
    return out / "checkpoints"

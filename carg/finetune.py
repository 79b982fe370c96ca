"""`carg finetune`: from a dataset folder to a trained generalist tool model.

The steps in order: settings, tokenizer, token caches, model, loop, export. Each is a module of `carg.gtm`; torch
is loaded only once the settings are sound.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from carg.encoding import build
from carg.errors import StoreError, TrainError
from carg.gtm.settings import (
    EvalReport,
    FinetuneReport,
    FinetuneSettings,
    StepReport,
    fixed_settings,
    resolve,
    split_rows,
)

if TYPE_CHECKING:
    from torch import nn

    from carg.gtm.loop import Job, Split, Trained
    from carg.gtm.parallel import World

HELD_OUT = ("validation", "test_tools", "test_domains")

_TOKENIZER_CHARS = 20_000_000
"""Text that a tokenizer is trained on: merges of a 4k-16k vocabulary no longer change beyond."""


def finetune(
    dataset: Path,
    out: Path,
    settings: FinetuneSettings,
    *,
    on_step: Callable[[StepReport], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> FinetuneReport:
    """A model trained on the `train` shards of a dataset folder, written to `out`; goes on where it was interrupted.

    Asked again for a finished run, it returns that run's report. `on_note` hears what takes time and what was
    measured. Raises ConfigError for unusable settings (all faults at once, before anything loads), StoreError for
    unreadable shards, TrainError where training cannot start or go on, TryLater after SIGTERM.
    """
    settings = resolve(settings)
    note = on_note or (lambda text: None)
    from carg.gtm.cache import find_shards
    from carg.gtm.parallel import join_world

    config, _ = split_rows(settings.rows)
    if not find_shards(dataset, "train", config):
        raise StoreError(
            f"{dataset}/{config}: no train-*.parquet here",
            "write it with `carg filter`; tools of `carg import` train with --split train",
        )
    with join_world(settings.device) as world, _plainly(out, world):
        job, model, tokenizer = prepare(dataset, out, settings, world, note)
        if finished := find_report(out, job):
            return finished
        trained = _run(job, on_step or (lambda report: None), note)
        from carg.gtm import chart, export, lora

        if settings.lora_rank:
            lora.merge_adapters(model)
        export.export_model(model, tokenizer, out, world)
        report = _report(job, model, trained)
        if world.rank == 0:
            chart.draw_losses(out)
            export.write_card(report, out)
            export.write_report(report, out)
        world.wait()
        return report


@contextmanager
def _plainly(out: Path, world: World) -> Iterator[None]:
    """Turns what libraries raise for a full disk, full memory and a lost process into a TrainError."""
    import torch
    from safetensors import SafetensorError

    again = "the same command goes on from the last checkpoint"
    try:
        yield
    except torch.OutOfMemoryError as fault:
        hint = "lower row_tokens (and context), or turn recompute on; " + again
        raise TrainError(f"the GPU has too little memory: {str(fault).splitlines()[0]}", hint) from fault
    except (OSError, SafetensorError) as fault:  # a base or checkpoint that cannot be read is told where it is read
        if isinstance(fault, OSError) and fault.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise TrainError(f"cannot write to {out}: {fault}", f"free some space: {again}") from fault
    except RuntimeError as fault:
        if world.size == 1:
            raise
        raise TrainError(
            f"process {world.rank} of {world.size} lost the others: {str(fault).splitlines()[0]}",
            f"see what ended the other process; {again}",
        ) from fault


def prepare(
    dataset: Path, out: Path, settings: FinetuneSettings, world: World, note: Callable[[str], None]
) -> tuple[Job, nn.Module, Any]:
    """The job that the loop runs, its model and its tokenizer; caches are built by the first process."""
    from carg.gtm import forecast, parallel
    from carg.gtm.checkpoint import Pledge
    from carg.gtm.loop import Job, count_slots
    from carg.gtm.model import Learner, load_model, make_model, pick_compute
    from carg.gtm.tokens import digest_tokenizer

    tokenizer = _in_turn(world, lambda: _find_tokenizer(dataset, out, settings, note))
    splits = _in_turn(world, lambda: _open_splits(dataset, out, settings, tokenizer, note))
    if settings.init:
        model = make_model(settings.init, tokenizer, context=settings.context or 0, seed=settings.seed)
    else:
        model = load_model(settings.base or "", tokenizer)
    compute = pick_compute(world.device, settings.compute)
    need = forecast.forecast_memory(
        model, row_tokens=settings.row_tokens or 0, world_size=world.size, recompute=settings.recompute
    )
    size = forecast.count_parameters(model)
    parallel.limit_threads(size, world.device)
    note(f"{settings.init or settings.base}: {size:,} parameters, about {need.total / 1e9:.1f} GB on each device")
    train = splits[0]
    share = train.cache.n_supervised / max(int(train.documents.lengths.sum()), 1)
    flops = forecast.count_flops(model, supervised_share=share, lengths=train.documents.lengths)
    learner = Learner(model)
    _place(model, learner, settings, world, compute)
    pledge = Pledge(train.cache.fingerprint, digest_tokenizer(tokenizer), fixed_settings(settings))
    peak = forecast.find_peak(world.device)
    n_slots = count_slots(splits, settings.row_tokens or 0) if parallel.has_kernel(world.device, compute) else 0
    job = Job(learner, train, tuple(splits[1:]), settings, pledge, compute, world, out, flops, peak, n_slots)
    return job, model, tokenizer


def _place(model: Any, learner: nn.Module, settings: FinetuneSettings, world: World, compute: Any) -> None:
    """Adapters, recomputation, device, compilation, sharding: in the order that they need each other."""
    from carg.gtm import lora, parallel

    if settings.lora_rank:
        lora.add_adapters(model, settings.lora_rank, seed=settings.seed)
    if settings.recompute:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    learner.to(world.device).train()
    layers = list(model.get_decoder().layers)
    if settings.compile and parallel.has_kernel(world.device, compute):
        for layer in layers:
            layer.compile(dynamic=False)
    if world.size > 1:
        parallel.shard(learner, layers, compute, world)


def _in_turn(world: World, make: Callable[[], Any]) -> Any:
    """What `make` gives; the first process makes it, the others find it made."""
    made = make() if world.rank == 0 else None
    world.wait()
    return made if world.rank == 0 else make()


def _find_tokenizer(dataset: Path, out: Path, settings: FinetuneSettings, note: Callable[[str], None]) -> Any:
    """The tokenizer of the base, or one trained on these shards and kept in `out/tokenizer`."""
    from carg.gtm.cache import digest_shards, find_shards
    from carg.gtm.tokens import load_tokenizer, train_tokenizer

    if settings.base:
        return load_tokenizer(settings.base)
    config, labels = split_rows(settings.rows)
    shards = find_shards(dataset, "train", config)
    home = out / "tokenizer" / f"{digest_shards(shards)}-{settings.vocab_size}"
    if not (home / "tokenizer_config.json").exists():
        note(f"training a tokenizer of {settings.vocab_size} tokens")
        train_tokenizer(_texts(shards, labels), settings.vocab_size or 0).save_pretrained(home)
    return load_tokenizer(home)


def _texts(shards: list[Path], labels: tuple[str, ...]) -> Iterator[str]:
    """Message texts, the same few of every shard, until there are enough characters."""
    from carg.gtm.cache import read_conversations

    for shard in shards:
        left = _TOKENIZER_CHARS // len(shards)
        messages = itertools.chain.from_iterable(itertools.chain.from_iterable(read_conversations([shard], labels)))
        for message in messages:
            yield message["content"]
            left -= len(message["content"])
            if left < 0:
                break


def _open_splits(
    dataset: Path, out: Path, settings: FinetuneSettings, tokenizer: Any, note: Callable[[str], None]
) -> list[Split]:
    """The training split and those held-out splits that have something to score."""
    from carg.gtm.cache import find_shards, open_cache
    from carg.gtm.loop import Split
    from carg.gtm.pack import find_documents
    from carg.gtm.tokens import TURN_END

    end = tokenizer.convert_tokens_to_ids(TURN_END)
    config, labels = split_rows(settings.rows)
    splits = []
    for name in ("train", *HELD_OUT):
        if not (shards := find_shards(dataset, name, config)):
            continue
        heard = partial(_note_rows, note, name)
        try:
            cache = open_cache(shards, tokenizer, out / "cache", labels=labels, on_rows=heard)
            documents = find_documents(cache, settings.context or 0, turn_end=end)
        except TrainError as fault:
            if name == "train":
                raise
            note(f"{name} is not measured: {fault.message}")
            continue
        splits.append(Split(name, cache, documents))
        n_tokens = int(documents.lengths.sum())
        note(
            f"{name}: {len(documents.lengths):,} conversations, {n_tokens:,} tokens, "
            f"{cache.n_supervised / len(cache.tokens):.1%} supervised; {documents.n_cut:,} cut to the context of "
            f"{settings.context:,} tokens, {documents.n_dropped:,} left out: no answer fits in it"
        )
    return splits


def _note_rows(note: Callable[[str], None], split: str, rows: int) -> None:
    note(f"{split}: {rows:,} rows tokenised")


def find_report(out: Path, job: Job) -> FinetuneReport | None:
    """The report of the same run, where it is already finished."""
    try:
        report = build(FinetuneReport, orjson.loads((out / "report.json").read_bytes()))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as fault:
        raise StoreError(f"{out}/report.json cannot be read: {fault}", "remove it to train on") from fault
    same = report.fingerprints == _fingerprints(job) and report.settings == asdict(job.settings)
    return report if same else None


def _fingerprints(job: Job) -> dict[str, str]:
    return {"dataset": job.pledge.dataset, "tokenizer": job.pledge.tokenizer}


def _run(job: Job, on_step: Callable[[StepReport], None], note: Callable[[str], None]) -> Trained:
    """Train, with every step and measurement appended to `out/train.jsonl` by the first process."""
    from carg.gtm.loop import train

    if job.world.rank == 0:
        _trim_log(job.out)
    with (job.out / "train.jsonl").open("ab") as log:

        def write(line: dict[str, Any]) -> None:
            if job.world.rank == 0:
                log.write(orjson.dumps(line) + b"\n")
                log.flush()

        def step(report: StepReport) -> None:
            write(asdict(report))
            on_step(report)

        def measured(step: int, reports: tuple[EvalReport, ...]) -> None:
            for one in reports:
                write({"step": step, "eval": asdict(one)})
            shown = (f"{one.split}: loss {one.loss:.3f}, accuracy {one.accuracy:.1%}" for one in reports)
            note(f"after step {step:,}  " + "  ".join(shown))

        return train(job, on_step=step, on_eval=measured)


def _trim_log(out: Path) -> None:
    """Take the lines of steps after the newest checkpoint out of the log: they will be done again."""
    from carg.gtm.checkpoint import find_checkpoints
    from carg.gtm.settings import checkpoint_home

    found = find_checkpoints(checkpoint_home(out))
    done = int(found[-1].name.removeprefix("step-")) if found else 0
    log = out / "train.jsonl"
    lines = log.read_bytes().splitlines(keepends=True) if log.exists() else []
    kept = [line for line in lines if line.endswith(b"\n") and orjson.loads(line)["step"] <= done]
    log.write_bytes(b"".join(kept))


def _report(job: Job, model: nn.Module, trained: Trained) -> FinetuneReport:
    from carg.gtm.forecast import count_parameters

    progress, documents = trained.progress, job.train.documents
    last = trained.steps[-max(1, progress.step // 10) :]
    return FinetuneReport(
        out=str(job.out),
        parameters=count_parameters(model),
        steps=progress.step,
        epochs=progress.tokens / max(int(documents.lengths.sum()), 1),
        tokens=progress.tokens,
        supervised=progress.supervised,
        loss=sum(step.loss for step in last) / max(len(last), 1),
        accuracy=sum(step.accuracy for step in last) / max(len(last), 1),
        tokens_per_s=progress.tokens / max(progress.elapsed_s, 1e-9),
        elapsed_s=progress.elapsed_s,
        conversations=len(documents.lengths),
        n_cut=documents.n_cut,
        n_dropped=documents.n_dropped,
        fill=trained.fill,
        evals=trained.evals,
        settings=asdict(job.settings),
        fingerprints=_fingerprints(job),
    )

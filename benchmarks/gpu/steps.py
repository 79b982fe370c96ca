"""What is measured on the device itself: parity of the attention paths, and speed of training the 1.5B shape.

    python benchmarks/gpu/steps.py parity --into parity.json
    python benchmarks/gpu/steps.py speed --into speed.json    # goes on where it stopped

MFU = executed flop of a token * tokens/s / peak of dense bf16 (`carg.gtm.forecast` has the formula: 6 * body, the head
on supervised positions only, causal attention within documents). Padding counts for nothing, nothing is recomputed.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from carg.gtm import attention, forecast, loop
from carg.gtm.cache import SUPERVISED, Cache
from carg.gtm.checkpoint import Pledge, Progress
from carg.gtm.model import Learner, make_model, pick_compute
from carg.gtm.optimizers import make_optimizers
from carg.gtm.pack import Documents, Packed
from carg.gtm.parallel import World, has_kernel
from carg.gtm.settings import FinetuneSettings, resolve

SUPERVISED_SHARE = 0.25
"""Of the made-up documents that are trained on: about what a corpus of sessions has."""
ROWS_A_STEP, WARM_STEPS, STEPS = 4, 2, 3
"""An optimizer step is of 32k to 98k tokens, as in practice: its own cost is shared by so many."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=["parity", "speed"])
    parser.add_argument("--into", type=Path, required=True)
    parser.add_argument("--dry", action="store_true", help="toy sizes")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if options.dry:
        torch.set_num_threads(1)
    if options.step == "parity":
        write(options.into, parity(device, options.dry))
    else:
        speed(device, options.into, options.dry)


def write(into: Path, made: Any) -> None:
    """Write JSON so that it is there whole or not at all."""
    draft = into.with_suffix(".tmp")
    draft.write_text(json.dumps(made, indent=1))
    draft.rename(into)


def parity(device: torch.device, dry: bool) -> dict[str, Any]:
    """Largest relative differences from fp32 attention with an explicit mask, of outputs and of each gradient.

    A path passes when it is at most twice as far from fp32 as plain SDPA of single documents in bf16 is.
    """
    heads, kv_heads, dim = (4, 2, 16) if dry else (12, 2, 128)
    lengths = [5, 1, 30, 17] if dry else [1500, 1, 700, 4096, 333, 64, 1498]
    total = sum(lengths)
    gen = torch.Generator().manual_seed(0)
    parts = [torch.randn(1, count, total, dim, generator=gen) for count in (heads, kv_heads, kv_heads)]
    lead = torch.randn(1, total, heads, dim, generator=gen)
    low = torch.bfloat16
    wanted = _masked(*(part.double() for part in parts), lead.double(), lengths)
    seams = attention.find_seams(lengths, longest=total)
    made = {"lengths": lengths, "heads": heads, "kv_heads": kv_heads, "dim": dim, "paths": {}}
    paths = {"documents fp32": (torch.float32, seams), "documents bf16": (low, seams)}
    if device.type == "cuda":
        paths["varlen bf16"] = (low, attention.find_seams(lengths, longest=total, n_slots=len(lengths) + 3))
    for name, (dtype, laid) in paths.items():
        got = _attend(parts, lead, dtype, laid, device)
        made["paths"][name] = {
            what: float((ours.double().cpu() - true).abs().max() / true.abs().max())
            for what, ours, true in zip(("out", "query", "key", "value"), got, wanted, strict=True)
        }
    plain = made["paths"]["documents bf16"]
    for path in made["paths"].values():
        path["passes"] = all(path[what] <= 2 * error + 1e-6 for what, error in plain.items() if what != "passes")
    return made | {"packed": _packed_parity(device, dry)}


def _masked(query: Tensor, key: Tensor, value: Tensor, lead: Tensor, lengths: list[int]) -> list[Tensor]:
    """Output (1, tokens, heads, dim) and gradients by the definition, a document at a time."""
    leaves = [part.requires_grad_() for part in (query, key, value)]  # .double() made copies of them
    groups = query.shape[1] // key.shape[1]
    pieces = []
    for q, k, v in zip(*(part.split(lengths, dim=2) for part in leaves), strict=True):
        keys, values = (part.repeat_interleave(groups, dim=1) for part in (k, v))
        scores = q @ keys.transpose(-1, -2) * q.shape[-1] ** -0.5
        later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        pieces.append(scores.masked_fill(later, float("-inf")).softmax(-1) @ values)
    out = torch.cat(pieces, dim=2).transpose(1, 2)
    (out * lead).sum().backward()
    return [out.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]


def _attend(parts: list[Tensor], lead: Tensor, dtype: torch.dtype, seams: Any, device: torch.device) -> list[Tensor]:
    leaves = [part.to(device, dtype).clone().requires_grad_() for part in parts]
    kernel = attention.find_kernel()
    nobody, seams = torch.nn.Identity(), seams._replace(ends=seams.ends.to(device))
    scaling = parts[0].shape[-1] ** -0.5
    out, _ = attention.attend(nobody, *leaves, None, scaling=scaling, seams=seams, kernel=kernel)
    (out.float() * lead.to(device)).sum().backward()
    return [out.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]


class Vocabulary:
    """Stands in for a tokenizer of so many tokens, where only a model's shape is wanted."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def convert_tokens_to_ids(self, token: str) -> int:
        """Any id will do."""
        return 0


def _packed_parity(device: torch.device, dry: bool) -> dict[str, float]:
    """How far the hidden states of documents side by side are from those of each alone, in the dtype of training."""
    lengths = [20, 3, 40] if dry else [900, 3, 2000, 450]
    learner = Learner(make_model("tiny" if dry else "small", Vocabulary(512), context=4096, seed=0)).to(device).eval()
    compute = pick_compute(device, "auto")
    ids = np.random.default_rng(0).integers(512, size=sum(lengths))
    none = np.zeros(0, dtype=np.int64)

    def hidden(piece: Any, sizes: list[int]) -> Tensor:
        positions = np.concatenate([np.arange(size) for size in sizes])
        row = Packed(piece, positions, sizes, none, none, np.zeros(0, dtype=np.float32), len(piece))
        n_slots = len(sizes) + 1 if has_kernel(device, compute) else 0
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=compute == torch.bfloat16):
            return learner.hidden(row, longest=len(piece), n_slots=n_slots)[0].float()

    whole = hidden(ids, lengths)
    alone = torch.cat([hidden(piece, [len(piece)]) for piece in np.split(ids, np.cumsum(lengths)[:-1])])
    return {"dtype": str(compute), "relative": float((whole - alone).abs().max() / alone.abs().max())}  # type: ignore[dict-item]


def speed(device: torch.device, into: Path, dry: bool) -> None:
    """Tokens/s, MFU and peak memory at each row size, eager and compiled; what `into` holds already is not redone."""
    done: list[dict[str, Any]] = json.loads(into.read_text()) if into.exists() else []
    preset, vocabulary = ("tiny", 512) if dry else ("1.5b", 151_936)
    with torch.device(device):  # 1.5 G random numbers are drawn where they stay
        learner = Learner(make_model(preset, Vocabulary(vocabulary), context=8192, seed=0)).train()
    for compiled in (False, True) if device.type == "cuda" else (False,):
        for layer in learner.model.get_decoder().layers if compiled else ():
            layer.compile(dynamic=False)
        for row_tokens in (256, 512) if dry else (8192, 16_384, 24_576):
            key = {"preset": preset, "row_tokens": row_tokens, "compiled": compiled}
            if any(key.items() <= one.items() for one in done):
                continue
            try:
                made = _measure(learner, device, row_tokens, dry)
            except torch.OutOfMemoryError as fault:
                made = {"error": str(fault).splitlines()[0]}
            learner.zero_grad(set_to_none=True)
            if device.type == "cuda":
                torch.cuda.empty_cache()
            done.append(key | made)
            write(into, done)


def _measure(learner: Learner, device: torch.device, row_tokens: int, dry: bool) -> dict[str, Any]:
    settings = resolve(
        FinetuneSettings(
            init="tiny",  # names no shape here: only widths and the optimizer are read
            optimizer="adamw",
            context_weight=0.0,
            context=row_tokens,
            row_tokens=row_tokens,
            batch_tokens=ROWS_A_STEP * row_tokens,
            lr=1e-6,
        )
    )
    world, compute = World(0, 1, device), pick_compute(device, "auto")
    cache, documents = _make_up(row_tokens, learner.model.config.vocab_size, dry)
    share = cache.n_supervised / len(cache.tokens)
    flops = forecast.count_flops(learner.model, supervised_share=share, lengths=documents.lengths)
    peak = forecast.find_peak(device)
    split = loop.Split("train", cache, documents)
    n_slots = loop.count_slots([split], row_tokens) if has_kernel(device, compute) else 0
    job = loop.Job(learner, split, (), settings, Pledge("", "", {}), compute, world, Path(), flops, peak, n_slots)
    optimizers, plan, progress = make_optimizers(learner, settings, world), loop.plan_epoch(job, 0), Progress()
    assert plan.n_rows >= (WARM_STEPS + STEPS) * ROWS_A_STEP
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    for _ in range(WARM_STEPS):
        loop._step(job, optimizers, plan, progress, 1e-6)
    warm_s, before = time.perf_counter() - began, progress.tokens
    seconds = list(_time_steps(job, optimizers, plan, progress))
    per_s = (progress.tokens - before) / sum(seconds)
    return {
        "parameters": forecast.count_parameters(learner.model),
        "compute": str(compute),
        "tokens_per_s": per_s,
        "mfu": per_s * flops / peak if peak else None,
        "flops_per_token": flops,
        "supervised_share": share,
        "mean_document": float(documents.lengths.mean()),
        "memory_gb": loop.measure_memory(device) / 1e9,
        "warm_s": warm_s,
        "step_s": seconds,
    }


def _time_steps(job: Any, optimizers: Any, plan: Any, progress: Progress) -> Iterator[float]:
    """Seconds of each step; a step reads its loss, so the device is done when it returns."""
    for _ in range(STEPS):
        began = time.perf_counter()
        loop._step(job, optimizers, plan, progress, 1e-6)
        if job.world.device.type == "cuda":
            torch.cuda.synchronize()
        yield time.perf_counter() - began


def _make_up(row_tokens: int, vocabulary: int, dry: bool) -> tuple[Cache, Documents]:
    """Documents of random tokens, enough for the steps, the last quarter of each supervised."""
    rng = np.random.default_rng(0)
    low, high = (20, 120) if dry else (400, 2800)
    wanted = (WARM_STEPS + STEPS + 1) * ROWS_A_STEP * row_tokens
    lengths = rng.integers(low, high, size=2 * wanted // (low + high) + 1)
    ends = np.cumsum(lengths)
    tokens = rng.integers(1, vocabulary, size=int(ends[-1])).astype(np.uint32)
    for end, length in zip(ends, lengths, strict=True):
        tokens[int(end - length * SUPERVISED_SHARE) : end] |= SUPERVISED
    offsets = np.concatenate([[0], ends]).astype(np.uint64)
    n_supervised = int(np.count_nonzero(tokens & SUPERVISED))
    return Cache(tokens, offsets, "made up", n_supervised), Documents(ends - lengths, lengths, 0, 0)


if __name__ == "__main__":
    main()

"""Attention inside documents that lie side by side in one row: registered with transformers as "carg_documents".

No mask is ever built. On CUDA one call of torch's variable-length kernel serves the row; elsewhere, and for fp32, which
that kernel does not take, each document is one causal call. The name is a run-time setting of a model: it is never
written to a config, and decoding uses "sdpa".
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as functional
from torch import Tensor

NAME = "carg_documents"


class Seams(NamedTuple):
    """Where the documents of a row lie."""

    lengths: list[int]
    """Empty where one kernel serves the row: a compiled layer that saw them would be compiled for each row anew."""
    ends: Tensor
    """(n + 1,) int32, on the device of the model: 0 and the ends; the last is repeated up to a fixed length."""
    longest: int
    """No document is longer; constant over a run, for it shapes the compiled kernel."""


def find_seams(lengths: Sequence[int], *, longest: int, n_slots: int = 0) -> Seams:
    """The seams of documents of these lengths; `n_slots` above 0 makes room for so many, that no shape ever changes."""
    ends = [0, *accumulate(lengths)]
    ends += ends[-1:] * (n_slots + 1 - len(ends))
    return Seams([] if n_slots else list(lengths), torch.tensor(ends, dtype=torch.int32), longest)


Kernel = Callable[[Tensor, Tensor, Tensor, Seams, float], Tensor]


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    seams: Seams,
    kernel: Kernel,
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each document. Query is (1, heads, tokens, dim), the result (1, tokens, heads, dim).

    Under autocast the rotation leaves query and key in fp32: the kernel wants all three alike.
    """
    if not seams.lengths:
        query, key, value = (part.squeeze(0).transpose(0, 1).to(value.dtype) for part in (query, key, value))
        return kernel(query, key, value, seams, scaling).unsqueeze(0), None
    shared = query.shape[1] != key.shape[1]
    documents = zip(*(torch.split(part, seams.lengths, dim=2) for part in (query, key, value)), strict=True)
    pieces = [
        functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling, enable_gqa=shared)
        for q, k, v in documents
    ]
    return torch.cat(pieces, dim=2).transpose(1, 2), None


def find_kernel() -> Kernel:
    """torch's kernel behind one signature: its arguments changed from 2.10 to 2.13, so they are looked up here.

    Queries are (tokens, heads, dim) in bf16 or fp16, keys and values may have fewer heads.
    """
    from torch.nn.attention import varlen

    known = inspect.signature(varlen.varlen_attn).parameters
    causal: dict[str, Any] = {"window_size": (-1, 0)} if "window_size" in known else {"is_causal": True}

    def call(query: Tensor, key: Tensor, value: Tensor, seams: Seams, scaling: float) -> Tensor:
        options = dict(causal)
        if query.shape[1] != key.shape[1]:
            if "enable_gqa" in known:
                options["enable_gqa"] = True
            else:
                groups = query.shape[1] // key.shape[1]
                key, value = (part.repeat_interleave(groups, dim=1) for part in (key, value))
        if "scale" in known:
            options["scale"] = scaling
        elif scaling != query.shape[-1] ** -0.5:
            query = query * (scaling * query.shape[-1] ** 0.5)
        spans = (seams.ends, seams.ends, seams.longest, seams.longest)
        return cast(Tensor, varlen.varlen_attn(query, key, value, *spans, **options))

    return call


def register() -> None:
    """Make the attention known to transformers under NAME; doing it again changes nothing."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, partial(attend, kernel=find_kernel()))

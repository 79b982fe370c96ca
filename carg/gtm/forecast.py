"""What a run will cost before it starts, and how much of the GPU's peak it reaches.

Work of one token, forward and backward (a multiply-add counts two; causal attention counts half a square):

    flops = 6 * (parameters outside embedding and head) + 6 * vocabulary * hidden * (share supervised)
            + 6 * layers * heads * head_dim * (mean document length seen by a token)

MFU = flops * tokens per second / peak, with recomputation not counted.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from carg.gtm.model import CHUNK

PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "B200": 2250e12, "L40S": 362e12}
"""Dense bf16 flop/s by what the name of the GPU holds. Source: NVIDIA's data sheets (SXM)."""

_FIXED_BYTES = 16
"""fp32 weight, gradient and two Adam moments of a trained parameter."""
_LAYER_WIDTHS = 51
"""Hidden-sized bf16 values that a layer keeps for each token without recomputation (estimate from the 1.5b shape)."""


class Memory(NamedTuple):
    """Bytes that training needs on each device, forecast to about a quarter."""

    weights: int
    activations: int

    @property
    def total(self) -> int:
        return self.weights + self.activations


def count_flops(model: nn.Module, *, supervised_share: float, lengths: NDArray[np.int64]) -> float:
    """Flop of a trained token, by the formula above, for documents of these lengths."""
    config: Any = model.config
    body = count_parameters(model) - model.get_input_embeddings().weight.numel()  # type: ignore[operator]
    if not config.tie_word_embeddings:
        body -= model.get_output_embeddings().weight.numel()  # type: ignore[operator]
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    seen = float((lengths.astype(float) ** 2).sum() / max(int(lengths.sum()), 1))
    attention: float = config.num_hidden_layers * config.num_attention_heads * head_dim * seen
    head = config.vocab_size * config.hidden_size * supervised_share
    return float(6.0 * (body + head + attention))


def count_parameters(model: nn.Module) -> int:
    """Parameters of a model, tied ones once."""
    return sum(weight.numel() for weight in model.parameters())


def find_peak(device: torch.device) -> float | None:
    """Dense bf16 flop/s of a GPU, None where it is not known."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in PEAKS.items() if part in name), None)


def forecast_memory(model: nn.Module, *, row_tokens: int, world_size: int, recompute: bool) -> Memory:
    """Memory that a device needs for this model and row width, with every weight trained."""
    config: Any = model.config
    kept = 2 if recompute else _LAYER_WIDTHS
    activations = 2 * kept * config.num_hidden_layers * config.hidden_size * row_tokens
    head = 12 * config.vocab_size * CHUNK["cuda"] + 4 * config.vocab_size * config.hidden_size
    return Memory(_FIXED_BYTES * count_parameters(model) // world_size, activations + head)

"""Low-rank adapters: every linear layer of the decoder learns a product of two thin matrices, merged at the end.

Source: arXiv 2106.09685; scale 2, as alpha = 2 * rank is usual.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

SCALE = 2.0


class LowRank(nn.Module):
    """A frozen linear layer plus `SCALE * up @ down`; `up` begins at zero, so that training begins at the base."""

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Parameter(torch.empty(rank, base.in_features, device=base.weight.device))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank, device=base.weight.device))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, hidden: Tensor) -> Tensor:
        """The layer's output, adapted; the shape of `nn.Linear`."""
        adapted: Tensor = self.base(hidden) + SCALE * ((hidden @ self.down.T) @ self.up.T)
        return adapted


def add_adapters(model: nn.Module, rank: int, *, seed: int) -> None:
    """Freeze the model and put an adapter around every linear layer of its decoder, in place."""
    torch.manual_seed(seed)
    model.requires_grad_(False)
    decoder: Any = model.get_decoder()  # type: ignore[operator]
    for parent in list(decoder.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.Linear):
                setattr(parent, name, LowRank(layer, rank))


def merge_adapters(model: nn.Module) -> None:
    """Add every adapter to the layer that it adapts and take it away, in place."""
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, LowRank):
                with torch.no_grad():
                    layer.base.weight += SCALE * layer.up @ layer.down
                setattr(parent, name, layer.base)

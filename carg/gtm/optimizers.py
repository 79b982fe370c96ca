"""The optimizers of a run: AdamW for all, or Muon for the matrices of the decoder and AdamW for the rest."""

from __future__ import annotations

import torch
from torch import nn

from carg.gtm.checkpoint import trained
from carg.gtm.parallel import World
from carg.gtm.settings import FinetuneSettings


def make_optimizers(learner: nn.Module, settings: FinetuneSettings, world: World) -> list[torch.optim.Optimizer]:
    """Optimizers that together hold every weight that learns, once; all follow the one learning rate.

    Muon's updates are scaled to the size of AdamW's (arXiv 2502.16982), so that one rate serves both. Weight decay is
    for matrices only, embeddings left out under Muon.
    """
    rate = settings.lr or 0.0
    rotated, decayed, plain = [], [], []
    for name, weight in trained(learner).items():
        if settings.optimizer == "muon" and weight.dim() == 2 and ".layers." in name:
            rotated.append(weight)
        elif settings.optimizer == "adamw" and weight.dim() > 1:
            decayed.append(weight)
        else:
            plain.append(weight)
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    fused = world.size == 1 or world.device.type == "cuda"  # there is no fused kernel for sharded weights on CPU
    groups = [group for group in groups if group["params"]]
    optimizers: list[torch.optim.Optimizer] = []
    if groups:
        optimizers.append(torch.optim.AdamW(groups, lr=rate, betas=(0.9, settings.beta2), fused=fused))
    if rotated:
        decay = settings.weight_decay
        optimizers.append(torch.optim.Muon(rotated, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"))
    return optimizers

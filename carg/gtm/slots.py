"""Keys and values of texts being decoded: a row each, where a text of any length may join or leave at any step.

A token's key lies at the place that it has in its text, so no row is padded on the left, positions are places, and the
start of one text can be copied for another that begins alike. Registered with transformers as "carg_slots"; the name is
a run-time setting of a model, never written to a config.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

NAME = "carg_slots"

_STRIDE = 256
"""Tokens by which rows grow: growing copies all of them."""


class Slots:
    """Keys and values of up to so many texts, (rows, kv heads, capacity, head dim) for each layer."""

    def __init__(self, model: Any, rows: int, capacity: int) -> None:
        config, weight = model.config, next(model.parameters())
        heads, dim = _kv_shape(config)
        shape = (rows, heads, capacity, dim)
        self.keys = [weight.new_zeros(shape) for _ in range(config.num_hidden_layers)]
        self.values = [weight.new_zeros(shape) for _ in range(config.num_hidden_layers)]

    def reserve(self, rows: int, capacity: int) -> None:
        """Make room, keeping what is there; rows double, so that batches that grow row by row copy seldom."""
        old_rows, _, old_capacity, _ = self.keys[0].shape
        if rows <= old_rows and capacity <= old_capacity:
            return
        rows = old_rows if rows <= old_rows else max(rows, 2 * old_rows)
        capacity = max(old_capacity, (capacity + _STRIDE - 1) // _STRIDE * _STRIDE)
        for parts in (self.keys, self.values):
            for layer, part in enumerate(parts):
                parts[layer] = part.new_zeros(rows, part.shape[1], capacity, part.shape[3])
                parts[layer][:old_rows, :, :old_capacity] = part

    def copy(self, row: int, source: Slots, source_row: int, length: int) -> None:
        """Put the first `length` tokens of a row of `source`, which may be these slots, into a row."""
        for mine, theirs in ((self.keys, source.keys), (self.values, source.values)):
            for part, other in zip(mine, theirs, strict=True):
                part[row, :, :length] = other[source_row, :, :length]


class Window(NamedTuple):
    """What one pass through the model reads and writes: the first rows of some slots."""

    slots: Slots
    rows: Tensor
    """(texts, 1), from 0."""
    places: Tensor
    """(texts, new tokens): where in its text each new token stands."""
    longest: int
    """No text is longer, the new tokens counted."""
    mask: Tensor | None
    """(texts, 1, heads per kv head * new tokens, longest): 0, or -inf for what each must not look at, made once for all
    layers; None for one text from its start."""


def _kv_shape(config: Any) -> tuple[int, int]:
    dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return config.num_key_value_heads, dim


def token_bytes(model: Any) -> int:
    """Bytes that keys and values of one token take."""
    heads, dim = _kv_shape(model.config)
    return int(2 * model.config.num_hidden_layers * heads * dim * next(model.parameters()).element_size())


def read(model: Any, slots: Slots, ids: Tensor, places: Tensor, *, longest: int, from_start: bool = False) -> Tensor:
    """Hidden states, (texts, new tokens, width), of new tokens that stand at these places of the first rows.

    Their keys and values are written to the slots. With `from_start`, one text is read whole, from its first token.
    """
    n_texts = len(ids)
    mask = None
    if not from_start:
        later = torch.arange(longest, device=ids.device) > places[:, :, None]
        groups = model.config.num_attention_heads // model.config.num_key_value_heads
        mask = slots.keys[0].new_zeros(later.shape).masked_fill_(later, float("-inf")).repeat(1, groups, 1)[:, None]
    rows = torch.arange(n_texts, device=ids.device)[:, None]
    window = Window(slots, rows, places, longest, mask)
    states: Tensor = model.get_decoder()(
        input_ids=ids, position_ids=places, use_cache=False, window=window
    ).last_hidden_state
    return states


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    window: Window,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of new tokens to their own text. Query is (texts, heads, new tokens, dim), the result has heads third.

    Heads that share keys are laid side by side as if they were further tokens: no key is ever repeated in memory.
    """
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    for part, fresh in ((window.slots.keys[layer], key), (window.slots.values[layer], value)):
        part[window.rows, :, window.places] = fresh.transpose(1, 2)
    if window.mask is None:
        shared = query.shape[1] != key.shape[1]
        out = functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scaling, enable_gqa=shared
        )
        return out.transpose(1, 2), None
    n_texts, n_new, dim = len(query), query.shape[2], query.shape[3]
    keys, values = (parts[layer][:n_texts, :, : window.longest] for parts in (window.slots.keys, window.slots.values))
    folded = query.reshape(n_texts, keys.shape[1], -1, dim)
    out = functional.scaled_dot_product_attention(folded, keys, values, attn_mask=window.mask, scale=scaling)
    return out.reshape(n_texts, -1, n_new, dim).transpose(1, 2), None


def register(model: Any) -> None:
    """Have the model attend to slots from now on."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attend)
    model.set_attn_implementation(NAME)

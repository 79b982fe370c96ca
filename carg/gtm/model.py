"""The model that learns: made from a preset or loaded from a base, and its loss on supervised positions alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from carg.errors import TrainError
from carg.gtm import attention
from carg.gtm.pack import Packed
from carg.gtm.tokens import END_OF_TEXT, TURN_END, Tokenizer

Preset = dict[str, Any]

PRESETS: dict[str, Preset] = {
    # Sized for the demo: 8,700 tokens/s and core, three times what 5 M parameters do, and further after 100 s.
    "tiny": {"hidden_size": 128, "layers": 3, "heads": 2, "kv_heads": 1, "intermediate_size": 512},
    "small": {"hidden_size": 512, "layers": 12, "heads": 8, "kv_heads": 4, "intermediate_size": 2048},
    # The shape of Qwen2.5-1.5B, as its config.json on the hub has it.
    "1.5b": {"hidden_size": 1536, "layers": 28, "heads": 12, "kv_heads": 2, "intermediate_size": 8960},
}

CHUNK = {"cpu": 1024, "cuda": 2048}
"""Positions whose logits exist at one time: 0.6 GB in fp32 for each 1,024 at a vocabulary of 152k."""


class Score(NamedTuple):
    """What a row scored, summed over its supervised positions."""

    objective: Tensor
    """Cross-entropy in nats, times the weights; differentiable."""
    loss: Tensor
    """Cross-entropy of the supervised positions alone."""
    n_right: Tensor
    """Supervised positions whose likeliest token is the true one."""


@contextmanager
def hush() -> Iterator[None]:
    """Keep transformers from drawing progress bars meanwhile."""
    from transformers.utils import logging

    was_on = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if was_on:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def make_model(preset: str, tokenizer: Tokenizer, *, context: int, seed: int) -> nn.Module:
    """A Qwen2 model with fresh weights in fp32, its vocabulary sized from the tokenizer (rounded up to 64)."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    shape = PRESETS[preset]
    config = Qwen2Config(
        vocab_size=(len(tokenizer) + 63) // 64 * 64,
        hidden_size=shape["hidden_size"],
        intermediate_size=shape["intermediate_size"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=shape["kv_heads"],
        max_position_embeddings=context,
        rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0 if preset == "1.5b" else 10_000.0},
        initializer_range=shape["hidden_size"] ** -0.5,  # Qwen2's 0.02 leaves narrow models with flat attention
        tie_word_embeddings=True,
        use_sliding_window=False,
        bos_token_id=None,
        eos_token_id=tokenizer.convert_tokens_to_ids(TURN_END),
        pad_token_id=tokenizer.convert_tokens_to_ids(END_OF_TEXT),
    )
    torch.manual_seed(seed)
    model: nn.Module = Qwen2ForCausalLM(config)
    return model.to(torch.float32)


def load_model(base: str | Path, tokenizer: Tokenizer) -> nn.Module:
    """The causal model of a folder or hub name, with fp32 weights: AdamW loses small updates on bf16 ones."""
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    try:
        with hush():
            model: nn.Module = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    except (OSError, ValueError, SafetensorError) as fault:
        raise TrainError(
            f"no model at {base}: {str(fault).splitlines()[0]}",
            "name a folder with config.json and safetensors, or a hub name while online; or use --init",
        ) from fault
    config: Any = model.config
    if "sliding_attention" in (getattr(config, "layer_types", None) or ()) or not hasattr(
        model.get_decoder(),  # type: ignore[operator]
        "layers",
    ):
        raise TrainError(
            f"{base}: {config.model_type} is not a plain decoder with full attention in every layer",
            "take a Qwen2.5 or Llama-like model as --base",
        )
    rows = model.get_input_embeddings().weight.shape[0]  # type: ignore[operator]
    if rows < len(tokenizer):
        raise TrainError(
            f"{base}: {rows} embeddings for {len(tokenizer)} tokens", "model and tokenizer must belong together"
        )
    return model


class Learner(nn.Module):
    """A causal model that scores packed rows: `forward` is what FSDP wraps and the loop calls."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        attention.register()
        model.set_attn_implementation(attention.NAME)  # type: ignore[operator]

    def forward(self, row: Packed, *, longest: int, n_slots: int = 0) -> Score:
        """Loss and right guesses of a row; hidden states are (1, tokens, hidden), logits never all exist."""
        hidden = self.hidden(row, longest=longest, n_slots=n_slots)
        head: Tensor = self.model.get_output_embeddings().weight  # type: ignore[operator]
        parts = (row.select, row.targets, row.weights)
        select, targets, weights = (send(torch.from_numpy(part), head.device) for part in parts)
        return score_positions(hidden[0, select], head, targets, weights)

    def hidden(self, row: Packed, *, longest: int, n_slots: int = 0) -> Tensor:
        """The last hidden states of a row, (1, tokens, hidden)."""
        device = next(self.model.parameters()).device
        ids, positions = (send(torch.from_numpy(part), device).unsqueeze(0) for part in (row.ids, row.positions))
        seams = attention.find_seams(row.lengths, longest=longest, n_slots=n_slots)
        seams = seams._replace(ends=send(seams.ends, device))
        trunk = self.model.get_decoder()  # type: ignore[operator]
        states: Tensor = trunk(input_ids=ids, position_ids=positions, use_cache=False, seams=seams).last_hidden_state
        return states


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device; a GPU gets it without anybody waiting for its work so far."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def score_positions(hidden: Tensor, head: Tensor, targets: Tensor, weights: Tensor, *, chunk: int = 0) -> Score:
    """Summed losses and right guesses of a linear head: hidden is (positions, width), head (vocabulary, width).

    Targets and weights are (positions,); a weight of 1 says "supervised".
    """
    chunk = chunk or CHUNK.get(hidden.device.type, CHUNK["cpu"])
    return Score(*_ChunkedLoss.apply(hidden, head, targets, weights, chunk))  # type: ignore[no-untyped-call]


class _ChunkedLoss(torch.autograd.Function):
    """Summed cross-entropy of a linear head, some positions at a time; gradients are made on the way forward.

    torch 2.13's own `linear_cross_entropy` is 2.5 times slower on CPU in its chunked form.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor, weights: Tensor, chunk: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        device = hidden.device.type
        compute = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        matrix = head.to(compute)
        objective, loss = (hidden.new_zeros((), dtype=torch.float32) for _ in range(2))
        n_right = targets.new_zeros(())
        grad_hidden = torch.empty_like(hidden)
        grad_head = torch.zeros_like(head, dtype=torch.float32)
        for first in range(0, len(hidden), chunk):
            part, true, weight = (whole[first : first + chunk] for whole in (hidden, targets, weights))
            part, counts = part.to(compute), weight == 1
            logits = (part @ matrix.T).float()
            n_right += ((logits.argmax(dim=1) == true) & counts).sum()
            logs = logits.log_softmax(dim=1)
            losses = -logs.gather(1, true[:, None])[:, 0]
            objective += (losses * weight).sum()
            loss += losses.where(counts, 0.0).sum()  # a mask as an index would make a GPU wait
            slope = logs.exp_()
            slope[torch.arange(len(true), device=true.device), true] -= 1.0
            slope = slope.mul_(weight[:, None]).to(compute)
            grad_hidden[first : first + chunk] = slope @ matrix
            grad_head += slope.T @ part
        ctx.save_for_backward(grad_hidden, grad_head.to(head.dtype))
        ctx.mark_non_differentiable(loss, n_right)
        return objective, loss, n_right

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        grad_hidden, grad_head = ctx.saved_tensors
        return grad_hidden * grads[0], grad_head * grads[0], None, None, None


def pick_compute(device: torch.device, wish: str) -> torch.dtype:
    """The dtype of matrix products: bf16 where the device is fast at it, unless the wish names one.

    A processor without bf16 instructions emulates them slowly. Asking the capability, not a clock, keeps a resumed
    run on the dtype that it began with.
    """
    if wish != "auto":
        return torch.bfloat16 if wish == "bf16" else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # private: absent means "no"
    fast = any(getattr(torch.cpu, probe, bool)() for probe in probes)
    return torch.bfloat16 if fast else torch.float32

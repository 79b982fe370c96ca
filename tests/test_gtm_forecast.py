"""The forecast of work and memory against figures known from elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from carg.gtm import forecast


@pytest.fixture(scope="module")
def big() -> torch.nn.Module:
    """The shape of Qwen2.5-1.5B, without memory behind it."""
    config = Qwen2Config(
        vocab_size=151_936,
        hidden_size=1536,
        intermediate_size=8960,
        num_hidden_layers=28,
        num_attention_heads=12,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    with torch.device("meta"):
        return Qwen2ForCausalLM(config)


@pytest.mark.parametrize(("length", "share", "gflop"), [(512, 1.0, 9.39), (2048, 1.0, 9.79), (2048, 0.5, 9.09)])
def test_work_of_a_token_is_as_counted_by_hand(big: torch.nn.Module, length: int, share: float, gflop: float) -> None:
    """Six flop a weight, causal attention halved, the head on supervised positions alone."""
    flops = forecast.count_flops(big, supervised_share=share, lengths=np.array([length, length]))

    assert flops / 1e9 == pytest.approx(gflop, abs=0.006)


def test_memory_of_a_full_finetune(big: torch.nn.Module) -> None:
    """Weights, gradients and moments in fp32 take 24.7 GB; recomputation saves most of the rest, processes share."""
    plain, thrifty, shared = (
        forecast.forecast_memory(big, row_tokens=16_384, world_size=size, recompute=recompute)
        for size, recompute in ((1, False), (1, True), (4, False))
    )

    assert plain.weights / 1e9 == pytest.approx(24.7, abs=0.05)
    assert thrifty.activations < plain.activations / 5
    assert shared.weights == plain.weights // 4


def test_peak_is_unknown_on_a_cpu() -> None:
    """There is no MFU without a GPU."""
    assert forecast.find_peak(torch.device("cpu")) is None

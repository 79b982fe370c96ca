"""The finished model as a folder that transformers, vLLM and the hub understand."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
import torch
from torch import nn

from carg.gtm.forecast import count_parameters
from carg.gtm.model import hush
from carg.gtm.parallel import World, gather
from carg.gtm.settings import FinetuneReport
from carg.gtm.tokens import Tokenizer

_BF16_FROM = 500_000_000
"""Parameters from which weights are exported in bf16: half the bytes, where rounding is harmless."""

_NEW_TOKENS = 1024
"""Longest answer that the saved generation settings allow; 95 % of tool bodies are under 1,500 tokens."""


def export_model(model: nn.Module, tokenizer: Tokenizer, out: Path, world: World) -> None:
    """Write config, weights, tokenizer with chat template, and greedy generation settings into `out`."""
    from transformers import GenerationConfig

    dtype = torch.bfloat16 if count_parameters(model) >= _BF16_FROM else torch.float32
    weights = {name: gather(weight).to(dtype) for name, weight in model.named_parameters()}
    if world.rank == 0:
        saved: Any = model
        saved.config.dtype = dtype
        saved.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, max_new_tokens=_NEW_TOKENS
        )
        with hush():
            saved.save_pretrained(out, state_dict=weights)
        tokenizer.save_pretrained(out)
    world.wait()


def write_card(report: FinetuneReport, out: Path) -> None:
    """Write README.md, the model card: what it is, what it was trained on, and how well it does."""
    settings = {name: value for name, value in report.settings.items() if value is not None}
    origin = f"`{settings['base']}`" if "base" in settings else f"fresh weights (`{settings.get('init')}`)"
    metrics = "\n".join(
        f"| {one.split} | {one.loss:.4f} | {one.accuracy:.1%} | {one.supervised:,} |" for one in report.evals
    )
    base = f"base_model: {settings['base']}\n" if "base" in settings else ""
    text = f"""---
library_name: transformers
pipeline_tag: text-generation
tags: [tool-simulation, carg]
{base}---
# A generalist tool model

It reads a tool's definition and a call, and answers as the tool would. Made by `carg finetune` from {origin}.

| parameters | steps | epochs | tokens | supervised tokens | conversations | cut | left out | tokens/s |
|---|---|---|---|---|---|---|---|---|
| {report.parameters:,} | {report.steps:,} | {report.epochs:.2f} | {report.tokens:,} | {report.supervised:,} \
| {report.conversations:,} | {report.n_cut:,} | {report.n_dropped:,} | {report.tokens_per_s:,.0f} |

Loss in nats per supervised token, and the share of supervised tokens guessed right:

| split | loss | accuracy | supervised tokens |
|---|---|---|---|
| train (last tenth) | {report.loss:.4f} | {report.accuracy:.1%} | |
{metrics}

![loss by step](loss.svg)

`test_tools` are tools and `test_domains` domains that were never trained on. Prompts are ChatML: a system message with
tool definitions and state, the call as user message; use the chat template saved here and stop at `<|im_end|>`.
Answers are simulated: never take them for a real system's.

    carg simulate --backend gtm:{report.out}

The folder loads in transformers and TRL. By its configuration and tokenizer it is what vLLM serves as
`Qwen2ForCausalLM` (`vllm serve {report.out}`, then `--api-base`); that was not tried for this model.

Data fingerprint `{report.fingerprints.get("dataset")}`, tokenizer `{report.fingerprints.get("tokenizer")}`. Settings:

```json
{orjson.dumps(settings, option=orjson.OPT_INDENT_2).decode()}
```
"""
    (out / "README.md").write_text(text, encoding="utf-8")


def write_report(report: FinetuneReport, out: Path) -> None:
    """Write report.json last of all: its presence says that the folder is whole."""
    draft = out / "report.json.tmp"
    draft.write_bytes(orjson.dumps(asdict(report), option=orjson.OPT_INDENT_2))
    draft.rename(out / "report.json")

"""Train on carg's shards with TRL: the loss is on the answers that are marked `train`, as in `carg finetune`.

    pip install 'carg[train,recipes]'
    python docs/recipes/trl_sft.py outputs/mine/dataset Qwen/Qwen2.5-1.5B outputs/mine/trl

TRL's own `assistant_only_loss` trains every assistant turn, also those that are only context here. So the labels are
made before: carg renders the rows, and what is not supervised gets -100, which TRL takes as it is.
"""

from __future__ import annotations

import argparse
from typing import Any

import datasets
import torch
from transformers import AutoModelForCausalLM
from trl import SFTConfig, SFTTrainer

from carg.gtm.tokens import load_tokenizer, render


def read_labelled(pattern: str, tokenizer: Any, max_length: int) -> datasets.Dataset:
    """Rows of `input_ids` and `labels`; those longer than `max_length` are left out: half an answer teaches harm."""

    def label(batch: dict[str, list[Any]]) -> dict[str, list[list[int]]]:
        rendered = [(ids.tolist(), mask.tolist()) for ids, mask in render(tokenizer, batch["messages"])]
        labels = [[one if on else -100 for one, on in zip(ids, mask, strict=True)] for ids, mask in rendered]
        return {"input_ids": [ids for ids, _ in rendered], "labels": labels}

    rows = datasets.load_dataset("parquet", data_files=pattern, split="train", columns=["messages"])
    rows = rows.map(label, batched=True, remove_columns=["messages"])
    return rows.filter(lambda row: len(row["input_ids"]) <= max_length)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", help="the dataset folder of a run")
    parser.add_argument("base", help="a model folder or hub name whose tokenizer has the ChatML marks")
    parser.add_argument("out")
    parser.add_argument("--config", default="simulator", choices=["simulator", "selection"])
    parser.add_argument("--max-length", type=int, default=8192)
    parser.add_argument("--batch", type=int, default=1, help="packed rows a step and device")
    parser.add_argument("--lr", type=float, default=1e-5)
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--steps", type=int, default=-1)
    options = parser.parse_args()
    tokenizer = load_tokenizer(options.base)
    on_gpu = torch.cuda.is_available()
    settings = SFTConfig(
        options.out,
        packing=True,
        max_length=options.max_length,
        per_device_train_batch_size=options.batch,
        learning_rate=options.lr,
        lr_scheduler_type="cosine",
        warmup_steps=0.03,
        num_train_epochs=options.epochs,
        max_steps=options.steps,
        gradient_checkpointing=False,
        bf16=on_gpu,
        use_cpu=not on_gpu,
        save_strategy="no",
        logging_steps=1,
        report_to="none",
    )
    trainer = SFTTrainer(
        AutoModelForCausalLM.from_pretrained(options.base, dtype=torch.float32),
        args=settings,
        train_dataset=read_labelled(
            f"{options.dataset}/{options.config}/train-*.parquet", tokenizer, options.max_length
        ),
        processing_class=tokenizer,
    )
    trainer.train()
    trainer.save_model(options.out)


if __name__ == "__main__":
    main()

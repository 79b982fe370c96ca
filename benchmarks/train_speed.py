"""Tokens per CPU-second of the own loop against transformers' Trainer (padded, and packed by position ids) and TRL.

    python benchmarks/train_speed.py                 # synthetic conversations, tiny model, one thread
    python benchmarks/train_speed.py --engine carg --conversations 80

CPU-seconds, not seconds: the figure then hardly depends on what else the machine does. Startup and tokenising are
left out for all. Engines whose package is missing are skipped and named.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from gtm_shards import converse, write_shard

from carg.finetune import prepare
from carg.gtm import loop, tokens
from carg.gtm.checkpoint import Progress
from carg.gtm.model import make_model
from carg.gtm.optimizers import make_optimizers
from carg.gtm.parallel import World
from carg.gtm.settings import FinetuneSettings, resolve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", choices=[*ENGINES], help="only this one")
    parser.add_argument("--conversations", type=int, default=40)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng = random.Random(0)
    rows = [
        converse(rng, exchanges=rng.randrange(1, 8), records=rng.randrange(4, 30)) for _ in range(options.conversations)
    ]
    print("engine            tokens/CPU-s   peak RSS MB")
    for name, engine in ENGINES.items():
        if options.engine in (None, name):
            try:
                rate = engine(rows)
                print(f"{name:<18}{rate:>11,.0f}   {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024:>8,}")
            except ImportError as fault:
                print(f"{name:<18}skipped: {fault}")


def run_carg(rows: list[Any]) -> float:
    """The own loop, in the compute dtype that it would pick here."""
    return _run_own(rows, "auto")


def run_carg_fp32(rows: list[Any]) -> float:
    """The own loop in fp32, as the others compute."""
    return _run_own(rows, "fp32")


def _run_own(rows: list[Any], compute: Any) -> float:
    with tempfile.TemporaryDirectory() as home:
        write_shard(Path(home) / "simulator" / "train-00000-of-00001.parquet", rows)
        settings = resolve(FinetuneSettings(init="tiny", compute=compute, optimizer="adamw", context_weight=0.0))
        alone = World(0, 1, torch.device("cpu"))
        job, _, _ = prepare(Path(home), Path(home) / "out", settings, alone, lambda text: None)
        optimizers, plan, progress = make_optimizers(job.learner, settings, alone), loop.plan_epoch(job, 0), Progress()

        def epoch() -> int:
            while progress.row < plan.n_rows:
                loop._step(job, optimizers, plan, progress, 1e-4)
            return progress.tokens

        return _per_cpu_second(epoch)


def run_trainer(rows: list[Any]) -> float:
    """transformers.Trainer, batches of eight padded conversations."""
    from transformers import DataCollatorForSeq2Seq

    model, tokenizer, examples = _prepare_plain(rows)
    collate = DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=-100)
    return _train_with_trainer(model, examples, collate, batch=8)


def run_trainer_packed(rows: list[Any]) -> float:
    """transformers.Trainer, conversations flattened into rows of eight and told apart by position ids."""
    from transformers import DataCollatorWithFlattening

    model, _, examples = _prepare_plain(rows)
    return _train_with_trainer(model, examples, DataCollatorWithFlattening(), batch=8)


def run_trl(rows: list[Any]) -> float:
    """TRL's SFTTrainer with best-fit packing."""
    import datasets
    from trl import SFTConfig, SFTTrainer

    model, tokenizer, examples = _prepare_plain(rows)
    data = datasets.Dataset.from_list([{"input_ids": one["input_ids"], "labels": one["labels"]} for one in examples])
    with tempfile.TemporaryDirectory() as home:
        config = SFTConfig(home, packing=True, max_length=4096, per_device_train_batch_size=1, **_QUIET)
        trainer = SFTTrainer(model, args=config, train_dataset=data, processing_class=tokenizer)
        return _per_cpu_second(lambda: (trainer.train(), sum(len(one["input_ids"]) for one in examples))[1])


_QUIET: dict[str, Any] = {
    "num_train_epochs": 1,
    "report_to": "none",
    "save_strategy": "no",
    "use_cpu": True,
    "disable_tqdm": True,
}


def _prepare_plain(rows: list[Any]) -> tuple[Any, Any, list[dict[str, list[int]]]]:
    tokenizer = tokens.train_tokenizer((turn["content"] for row in rows for turn in row), 4096)
    rendered = tokens.render(tokenizer, rows)
    examples = [
        {"input_ids": ids.tolist(), "labels": [int(one) if on else -100 for one, on in zip(ids, mask, strict=True)]}
        for ids, mask in rendered
    ]
    return make_model("tiny", tokenizer, context=4096, seed=0), tokenizer, examples


def _train_with_trainer(model: Any, examples: list[Any], collate: Any, *, batch: int) -> float:
    from transformers import Trainer, TrainingArguments

    with tempfile.TemporaryDirectory() as home:
        arguments = TrainingArguments(home, per_device_train_batch_size=batch, **_QUIET)
        trainer = Trainer(model, arguments, data_collator=collate, train_dataset=examples)
        return _per_cpu_second(lambda: (trainer.train(), sum(len(one["input_ids"]) for one in examples))[1])


def _per_cpu_second(work: Callable[[], int]) -> float:
    started = time.process_time()
    n_tokens = work()
    return n_tokens / (time.process_time() - started)


ENGINES: dict[str, Callable[[list[Any]], float]] = {
    "carg": run_carg,
    "carg fp32": run_carg_fp32,
    "trainer": run_trainer,
    "trainer packed": run_trainer_packed,
    "trl packed": run_trl,
}

if __name__ == "__main__":
    main()

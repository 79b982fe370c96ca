"""Tokens per CPU-second of `carg finetune`'s loop, transformers' Trainer and TRL's SFTTrainer on the same packed rows.

    python benchmarks/train_speed.py                            # both sizes, all engines, median of five
    python benchmarks/train_speed.py --dataset RUN/dataset      # rows of a run instead of synthetic ones
    python benchmarks/train_speed.py --size tiny --engine carg --engine trl --repeats 1

All train the same weights on the same conversations with the same tokenizer, in rows of at most 4,096 tokens, one row a
step, AdamW, one thread; in fp32, and carg in bf16 besides. CPU-seconds, not seconds: the figure then hardly depends on
what else the machine does. Start, tokenising and packing are left out for all. Each engine has a process of its own.
What packing without a mask saves follows from the documents: those of 500 tokens lie eight to a row; where one fills
its row, as rows of a run with a large opening state do, attention is the same work for all.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import itertools
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

ROW_TOKENS = 4096
SIZES = {"tiny": 2048, "wide": 4096}
"""Shape and vocabulary asked for, about 1 M and 5 M parameters: --init tiny, and four layers of 256 channels."""
WIDE = {"hidden_size": 256, "layers": 4, "heads": 4, "kv_heads": 2, "intermediate_size": 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=[*SIZES], action="append", help="only this one")
    parser.add_argument("--engine", choices=[*ENGINES], action="append", help="only this one")
    parser.add_argument("--dataset", type=Path, help="a dataset folder; default: synthetic conversations")
    parser.add_argument("--conversations", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(work(options.worker, options.size[0], options.engine[0], options.repeats)))
        return
    names = ("torch", "transformers", "trl", "accelerate", "datasets")
    print("  ".join(f"{name} {version_of(name)}" for name in names))
    for size in options.size or SIZES:
        compare(size, options)


def version_of(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def compare(size: str, options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as home:
        about = make_task(Path(home), size, draw_talks(options.dataset, options.conversations))
        print(
            f"\n{size}: {about['parameters']:,} parameters, {about['tokens']:,} tokens in {about['conversations']} "
            f"conversations (median {about['median']:,}) and {about['rows']} rows, {about['share']:.1%} supervised"
        )
        print(f"{'engine':<14}{'tokens/CPU-s':>14}{'lowest':>10}{'highest':>10}{'peak MB':>10}{'mean loss':>11}")
        medians: dict[str, float] = {}
        for engine in options.engine or ENGINES:
            found = run_worker(Path(home), size, engine, options.repeats)
            if "missing" in found:
                print(f"{engine:<14}skipped: {found['missing']}")
                continue
            rates = found["rates"]
            medians[engine] = statistics.median(rates)
            print(
                f"{engine:<14}{medians[engine]:>14,.0f}{min(rates):>10,.0f}{max(rates):>10,.0f}"
                f"{found['peak_mb']:>10,}{found['loss']:>11.4f}"
            )
        for other, goal in (("trl", 2.3), ("trainer", 1.5)):
            if {"carg", other} <= medians.keys():
                print(f"carg is {medians['carg'] / medians[other]:.2f} times {other}, both in fp32 (goal {goal})")


def draw_talks(dataset: Path | None, n_wanted: int) -> list[Any]:
    """So many conversations: the first of a dataset's training split, or synthetic ones."""
    if dataset is not None:
        from carg.shards import read_rows

        return [row["messages"] for row in itertools.islice(read_rows(dataset), n_wanted)]
    from gtm_shards import converse

    rng = random.Random(0)
    return [converse(rng, exchanges=rng.randrange(1, 8), records=rng.randrange(4, 30)) for _ in range(n_wanted)]


def make_task(home: Path, size: str, talks: list[Any]) -> dict[str, Any]:
    """A dataset, a base folder and the packed rows, which all engines share; returns what they come to."""
    import torch
    from gtm_shards import write_shard

    from carg.gtm import cache, model, pack, tokens

    torch.set_num_threads(1)
    shard = write_shard(home / "simulator" / "train-00000-of-00001.parquet", talks)
    model.PRESETS["wide"] = WIDE
    tokenizer = tokens.train_tokenizer((str(turn["content"]) for talk in talks for turn in talk), SIZES[size])
    made: Any = model.make_model(size, tokenizer, context=ROW_TOKENS, seed=0)
    made.save_pretrained(home / "base")
    tokenizer.save_pretrained(home / "base")
    built = cache.open_cache([shard], tokenizer, home / "cache")
    end = tokenizer.convert_tokens_to_ids(tokens.TURN_END)
    documents = pack.find_documents(built, ROW_TOKENS, turn_end=end)
    plan = pack.plan_rows(documents.lengths, ROW_TOKENS, seed=0, epoch=0)
    rows = [pack.fill_row(built, documents, plan, number) for number in range(plan.n_rows)]
    ends = documents.starts + documents.lengths
    pieces = [built.tokens[start:end] for start, end in zip(documents.starts, ends, strict=True)]
    examples = [label((piece & ~cache.SUPERVISED).tolist(), (piece & cache.SUPERVISED).tolist()) for piece in pieces]
    packed = []
    for row in rows:
        labels = [-100] * len(row.ids)
        for place, target in zip(row.select.tolist(), row.targets.tolist(), strict=True):
            labels[place + 1] = target
        packed.append({"input_ids": row.ids.tolist(), "labels": labels, "position_ids": row.positions.tolist()})
    (home / "examples.json").write_text(json.dumps(examples))
    (home / "packed.json").write_text(json.dumps(packed))
    n_tokens = sum(row.n_tokens for row in rows)
    return {
        "parameters": sum(weight.numel() for weight in made.parameters()),
        "tokens": n_tokens,
        "conversations": len(documents.lengths),
        "median": int(statistics.median(documents.lengths.tolist())),
        "rows": len(rows),
        "share": sum(len(row.select) for row in rows) / n_tokens,
    }


def label(ids: list[int], marks: list[int]) -> dict[str, list[int]]:
    return {"input_ids": ids, "labels": [one if on else -100 for one, on in zip(ids, marks, strict=True)]}


def run_worker(home: Path, size: str, engine: str, repeats: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--worker", str(home), "--size", size, "--engine", engine]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TRL_EXPERIMENTAL_SILENCE": "1",
    }
    done = subprocess.run(
        [*command, "--repeats", str(repeats)], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def work(home: str, size: str, engine: str, repeats: int) -> dict[str, Any]:
    """Rates and mean loss of an engine over the task (each draws its own order of rows), and its peak of memory."""
    import torch

    torch.set_num_threads(1)
    try:
        runs = [ENGINES[engine](Path(home)) for _ in range(repeats)]
    except ImportError as fault:
        return {"missing": str(fault)}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {"rates": [rate for rate, _ in runs], "loss": runs[-1][1], "peak_mb": peak}


def timed(run: Callable[[], tuple[int, float]]) -> tuple[float, float]:
    started = time.process_time()
    n_tokens, loss = run()
    return n_tokens / (time.process_time() - started), loss


def run_carg(home: Path, compute: Any = "fp32") -> tuple[float, float]:
    import torch

    from carg.finetune import prepare
    from carg.gtm import loop
    from carg.gtm.checkpoint import Progress
    from carg.gtm.optimizers import make_optimizers
    from carg.gtm.parallel import World
    from carg.gtm.settings import FinetuneSettings, resolve

    settings = resolve(
        FinetuneSettings(base=str(home / "base"), compute=compute, context=ROW_TOKENS, batch_tokens=ROW_TOKENS)
    )
    alone = World(0, 1, torch.device("cpu"))
    with tempfile.TemporaryDirectory() as out:
        job, _, _ = prepare(home, Path(out), settings, alone, lambda text: None)
        optimizers, plan, progress = make_optimizers(job.learner, settings, alone), loop.plan_epoch(job, 0), Progress()

        def epoch() -> tuple[int, float]:
            losses = []
            while progress.row < plan.n_rows:
                moved = loop._step(job, optimizers, plan, progress, 1e-4)
                losses.append(moved.loss / moved.n_supervised)
            return progress.tokens, statistics.mean(losses)

        return timed(epoch)


def run_carg_bf16(home: Path) -> tuple[float, float]:
    return run_carg(home, "bf16")


SAME: dict[str, Any] = {
    "num_train_epochs": 1,
    "per_device_train_batch_size": 1,
    "learning_rate": 1e-4,
    "lr_scheduler_type": "constant",
    "max_grad_norm": 1.0,
    "weight_decay": 0.1,
    "report_to": "none",
    "save_strategy": "no",
    "logging_steps": 1,
    "use_cpu": True,
    "disable_tqdm": True,
    "bf16": False,
}


def load_base(home: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(home / "base", dtype=torch.float32)


def run_trainer(home: Path) -> tuple[float, float]:
    import torch
    from transformers import Trainer, TrainingArguments

    rows = json.loads((home / "packed.json").read_text())

    def collate(batch: list[dict[str, list[int]]]) -> dict[str, Any]:
        return {name: torch.tensor([row[name] for row in batch]) for name in batch[0]}

    trainer = Trainer(load_base(home), TrainingArguments(str(home / "t"), **SAME), collate, rows)
    return timed(lambda: train_with(trainer, sum(len(row["input_ids"]) for row in rows)))


def run_trl(home: Path) -> tuple[float, float]:
    import datasets
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    examples = json.loads((home / "examples.json").read_text())
    # Recomputing activations is its default, and would slow it by a quarter.
    config = SFTConfig(str(home / "s"), packing=True, max_length=ROW_TOKENS, gradient_checkpointing=False, **SAME)
    tokenizer = AutoTokenizer.from_pretrained(home / "base")
    data = datasets.Dataset.from_list(examples)
    trainer = SFTTrainer(load_base(home), args=config, train_dataset=data, processing_class=tokenizer)
    return timed(lambda: train_with(trainer, sum(len(one["input_ids"]) for one in examples)))


def train_with(trainer: Any, n_tokens: int) -> tuple[int, float]:
    trainer.train()
    return n_tokens, statistics.mean(float(line["loss"]) for line in trainer.state.log_history if "loss" in line)


ENGINES: dict[str, Callable[[Path], tuple[float, float]]] = {
    "carg": run_carg,
    "carg bf16": run_carg_bf16,
    "trainer": run_trainer,
    "trl": run_trl,
}

if __name__ == "__main__":
    main()

"""Exchanges and tokens a second of local decoding: with and without prefix cache, grammar, batches of 1, 8, 32.

    python benchmarks/decode_speed.py                                # makes a small run and a tiny model first
    python benchmarks/decode_speed.py --run outputs/mine --model outputs/mine/model --device cuda --batches 1 32 256

Items are the calls of held-out rows, each after the true answers before it, as `carg evaluate` asks them. Rates are per
second of the clock and per second of CPU time; loading is left out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock


@dataclass(frozen=True, slots=True)
class Speed:
    """One setting, measured."""

    batch: int
    prefix: bool
    grammar: bool
    exchanges_per_s: float
    tokens_per_s: float
    """Of answers."""
    exchanges_per_cpu_s: float
    read_share: float
    """Tokens of prompts that went through the model, of all."""
    cut_share: float
    """Answers that reached `--max-new-tokens`."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, help="a run that was filtered; default: a small one is made")
    parser.add_argument("--model", type=Path, help="a folder that finetune wrote; default: RUN/model")
    parser.add_argument("--items", type=int, default=64, help="most calls asked")
    parser.add_argument("--waves", type=int, default=8, help="no more calls than this many for each text of a batch")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--max-new-tokens", type=int, default=200)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, help="where the figures go, too; those that it holds are not taken anew")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        run = options.run or make_run(Path(home) / "run")
        speeds = [Speed(**told) for told in json.loads(options.json.read_text())] if is_file(options.json) else []
        print("batch  prefix  grammar  exchanges/s  tokens/s  exchanges/CPU-s  prompt read  cut")
        for speed in measure(run, options.model or run / "model", options, speeds):
            speeds.append(speed)
            if options.json:
                options.json.write_text(json.dumps([asdict(one) for one in speeds], indent=1))
            shown = ("yes" if speed.prefix else "no", "yes" if speed.grammar else "no")
            print(
                f"{speed.batch:>5}  {shown[0]:>6}  {shown[1]:>7}  {speed.exchanges_per_s:>11.2f}  "
                f"{speed.tokens_per_s:>8.0f}  {speed.exchanges_per_cpu_s:>15.2f}  {speed.read_share:>11.1%}  "
                f"{speed.cut_share:.0%}",
                flush=True,
            )


def is_file(path: Path | None) -> bool:
    """Whether a file was named and is there."""
    return path is not None and path.exists()


def make_run(run: Path) -> Path:
    """A small run of two domains with a tiny model, through the command line; about two minutes."""
    domains = ["-d", "beekeeping", "-d", "retail_banking"]
    for words in (
        ["expand", "--run", run, *domains, "--instances", "2"],
        ["generate", "--run", run, "--exchanges", "1500"],
        ["filter", "--run", run],
        ["finetune", "--run", run, "--init", "tiny", "--minutes", "1", "--epochs", "50"],
    ):
        subprocess.run(
            [sys.executable, "-m", "carg", "--quiet", *map(str, words)], check=True, stdout=subprocess.DEVNULL
        )
    return run


def measure(run: Path, model: Path, options: Any, done: Sequence[Speed]) -> Iterator[Speed]:
    """Each setting that is not done, on the same items."""
    known = {(one.batch, one.prefix, one.grammar) for one in done}
    from carg.gtm import decode
    from carg.gtm.decode import Asked, complete, load_gtm

    gtm = load_gtm(model, device=options.device)
    asked = take_items(run, gtm, options.items, options.max_new_tokens)
    for batch in options.batches:
        some = asked[: batch * options.waves]
        for keep in (0, gtm.keep):
            for grammar in (one for one in (False, True) if (batch, keep > 0, one) not in known):
                wanted = some if grammar else [replace(one, schema=None) for one in some]
                ready = replace(gtm, rows=batch, keep=keep, kept=[])
                complete(ready, [Asked(asked[0].messages, wanted[0].schema, 2)])  # kernels and grammars warm up
                ready.kept.clear()
                began, cpu_began = time.perf_counter(), time.process_time()
                with mock.patch.object(decode, "read", wraps=decode.read) as read:
                    made = complete(ready, wanted)
                seconds, cpu = time.perf_counter() - began, time.process_time() - cpu_began
                # An answer's first token comes of reading its prompt, each further one of reading the one before.
                n_read = sum(call.args[2].numel() for call in read.call_args_list) - sum(
                    one.n_tokens - 1 for one in made
                )
                yield Speed(
                    batch,
                    keep > 0,
                    grammar,
                    len(made) / seconds,
                    sum(one.n_tokens for one in made) / seconds,
                    len(made) / cpu,
                    n_read / sum(one.n_prompt for one in made),
                    sum(one.is_cut for one in made) / len(made),
                )


def take_items(run: Path, gtm: Any, n_items: int, max_new_tokens: int) -> list[Any]:
    """The calls of rows that were held out, as many as asked for, that leave room for an answer."""
    import orjson

    from carg.gtm.decode import Asked
    from carg.gtm.tokens import prompt_ids
    from carg.scene import open_book
    from carg.shards import read_rows
    from carg.world.answers import answer_schema
    from carg.world.replay import service_of
    from carg.world.syntax import parse_call

    book = open_book(run)
    room = gtm.model.config.max_position_embeddings - max_new_tokens
    items: list[Any] = []
    splits = ("test_tools", "test_domains", "validation", "train")
    for split in (name for name in splits if list((run / "dataset" / "simulator").glob(f"{name}-*"))):
        for row in read_rows(run / "dataset", "simulator", split):
            service = service_of(book.instances[orjson.loads(row["meta"])["instance"]])
            messages = row["messages"]
            for turn in range(2, len(messages), 2):
                if len(items) == n_items:
                    return items
                parsed = parse_call(service.convention, messages[turn - 1]["content"], service.definitions)
                definition = service.definitions.get(parsed.tool or "")
                schema = answer_schema(service.convention, definition) if definition is not None else None
                if messages[turn]["train"] and len(prompt_ids(gtm.tokenizer, [messages[:turn]])[0]) <= room:
                    items.append(Asked(messages[:turn], schema, max_new_tokens))
    return items


if __name__ == "__main__":
    main()

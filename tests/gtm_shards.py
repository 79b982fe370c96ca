"""Synthetic shards and a very small model for the tests of the GTM: a bookshop that answers from its system text."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

torch.set_num_threads(1)  # two threads that wait for each other on a busy machine are ten times slower

TITLES = ("Dune", "Emma", "Ulysses", "Middlemarch", "Solaris", "Zoë's Café", "Ficciones", "Nausea")
MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string()), ("train", pa.bool_())])
TEXTS = ("id", "kind", "domain", "category", "service", "truth", "label", "tool_definitions", "meta")
SCHEMA = pa.schema(
    [(name, pa.string()) for name in TEXTS] + [("tool_names", pa.list_(pa.string())), ("messages", pa.list_(MESSAGE))]
)

Message = dict[str, object]


def converse(rng: random.Random, *, exchanges: int = 3, records: int = 8) -> list[Message]:
    """A conversation: system text with definition and table, then calls and answers; the first answer is context."""
    table = {
        f"bk_{rng.randrange(1000, 9999)}": {"title": rng.choice(TITLES), "stock": rng.randrange(40)}
        for _ in range(records)
    }
    definition = {
        "name": "get_book",
        "parameters": {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]},
    }
    rows = "\n".join(f"{number} | {book['title']} | {book['stock']}" for number, book in table.items())
    system = f"You are the tool.\n{json.dumps(definition)}\nbooks: id | title | stock\n{rows}"
    messages: list[Message] = [{"role": "system", "content": system, "train": False}]
    for turn in range(exchanges):
        number = rng.choice([*table, "bk_0"])
        found = table.get(number)
        body = {"id": number, **found} if found else {"error": {"code": "not_found", "id": number}}
        call = json.dumps({"name": "get_book", "arguments": {"id": number}})
        messages.append({"role": "user", "content": call, "train": False})
        answer = json.dumps(body, ensure_ascii=False)
        messages.append({"role": "assistant", "content": answer, "train": turn > 0 or exchanges == 1})
    return messages


def write_shard(path: Path, conversations: list[list[Message]], *, group: int = 16, labels: Sequence[str] = ()) -> Path:
    """A shard with the columns of a run's dataset; rows are labelled in order where labels are given."""
    rows = [
        {name: name for name in TEXTS}
        | {"id": f"r{number}", "tool_names": ["get_book"], "messages": messages}
        | ({"label": labels[number]} if labels else {})
        for number, messages in enumerate(conversations)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path, row_group_size=group, compression="zstd")
    return path


def write_dataset(folder: Path, *, train: int = 48, held_out: int = 6, seed: int = 0) -> Path:
    """A dataset folder: two training shards and one each of validation and test_tools."""
    rng = random.Random(seed)
    half = train // 2
    for part, count in enumerate((half, train - half)):
        rows = [converse(rng) for _ in range(count)]
        write_shard(folder / "simulator" / f"train-{part:05d}-of-00002.parquet", rows)
    for split in ("validation", "test_tools"):
        rows = [converse(rng) for _ in range(held_out)]
        write_shard(folder / "simulator" / f"{split}-00000-of-00001.parquet", rows)
    return folder


def save_base(home: Path, *, context: int = 2048, loudness: float = 1.0) -> Path:
    """A folder with a two-layer model of 16 channels and its tokenizer; `loudness` scales its matrices."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from carg.gtm.model import hush
    from carg.gtm.tokens import train_tokenizer

    rng = random.Random(1)
    tokenizer = train_tokenizer((str(turn["content"]) for _ in range(4) for turn in converse(rng)), 400)
    config = Qwen2Config(
        vocab_size=448,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(config)
    with torch.no_grad(), hush():
        for weight in model.parameters():
            weight.mul_(loudness if weight.dim() > 1 else 1.0)
        model.save_pretrained(home)
    tokenizer.save_pretrained(home)
    return home

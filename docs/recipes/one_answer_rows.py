"""Rows for trainers that can only train a conversation's last answer: each supervised answer with all that came before.

    python docs/recipes/one_answer_rows.py outputs/mine/dataset data/carg.jsonl

What came before is repeated in each row: for a session of eight exchanges the text grows about fivefold.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from carg.shards import read_rows


def split_row(messages: list[dict[str, Any]]) -> Iterator[list[dict[str, str]]]:
    """The messages up to each answer that is marked `train`."""
    for place, turn in enumerate(messages):
        if turn["role"] == "assistant" and turn["train"]:
            yield [{"role": one["role"], "content": one["content"]} for one in messages[: place + 1]]


def main() -> None:
    dataset, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", encoding="utf-8") as file:
        for row in read_rows(dataset, "simulator", "train"):
            for messages in split_row(row["messages"]):
                file.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()

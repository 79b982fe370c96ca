"""Recipes for other trainers: what they read is what carg trains on."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from gtm_shards import save_base, write_dataset

from carg.finetune import finetune
from carg.gtm.settings import FinetuneSettings, StepReport
from carg.shards import read_rows

RECIPES = Path(__file__).parents[1] / "docs" / "recipes"


def load(name: str) -> ModuleType:
    """A recipe as a module."""
    spec = importlib.util.spec_from_file_location(name, RECIPES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="needs carg[recipes]")
def test_trl_trains_on_the_same_tokens(tmp_path: Path) -> None:
    """On a folder that carg saved, its first loss is ours on the same rows to 1e-3; what it saves, carg trains on."""
    dataset = write_dataset(tmp_path / "d", train=12)
    settings = FinetuneSettings(
        base=str(save_base(tmp_path / "b")), context=512, row_tokens=512, batch_tokens=65_536, steps=1, compute="fp32"
    )
    finetune(dataset, tmp_path / "carg", settings)
    words = [
        dataset,
        tmp_path / "carg",
        tmp_path / "trl",
        "--max-length",
        512,
        "--batch",
        128,
        "--steps",
        3,
        "--lr",
        0.01,
    ]

    done = subprocess.run(
        [sys.executable, RECIPES / "trl_sft.py", *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd()), "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    seen: list[StepReport] = []
    for start in ("carg", "trl"):
        again = replace(settings, base=str(tmp_path / start))
        finetune(dataset, tmp_path / f"{start}-more", again, on_step=seen.append)
    losses = [float(loss) for loss in re.findall(r"'loss': '?([\d.]+)", done.stdout)]
    assert len(losses) == 3
    assert losses[0] == pytest.approx(seen[0].loss, abs=1e-3)  # it prints four digits
    assert seen[1].loss < seen[0].loss


def test_split_rows_hold_each_supervised_answer_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row an answer, ending with it; unsupervised answers stand in between, and only as context."""
    dataset = write_dataset(tmp_path / "d")
    monkeypatch.setattr(sys, "argv", ["", str(dataset), str(tmp_path / "out" / "carg.jsonl")])

    load("one_answer_rows").main()

    made = [json.loads(line)["messages"] for line in (tmp_path / "out" / "carg.jsonl").read_text().splitlines()]
    rows = [row["messages"] for row in read_rows(dataset)]
    answers = [turn["content"] for messages in rows for turn in messages if turn["train"]]
    assert [messages[-1] for messages in made] == [{"role": "assistant", "content": text} for text in answers]
    assert all([turn["role"] for turn in messages[:2]] == ["system", "user"] for messages in made)


def test_configurations_name_what_the_shards_have() -> None:
    """Files can be read, and columns and keys are those of the shards."""
    from carg.shards import ROW_SCHEMA

    axolotl = yaml.safe_load((RECIPES / "axolotl.yaml").read_text())
    factory = yaml.safe_load((RECIPES / "llamafactory.yaml").read_text())
    info = json.loads((RECIPES / "dataset_info.json").read_text())

    message = ROW_SCHEMA.field("messages").type.value_type
    source = axolotl["datasets"][0]
    assert source["field_messages"] in ROW_SCHEMA.names
    assert {*source["message_property_mappings"].values(), source["message_field_training"]} == {
        field.name for field in message
    }
    assert factory["dataset"] in info
    assert factory["mask_history"]
    assert {info["carg"]["tags"]["role_tag"], info["carg"]["tags"]["content_tag"]} < {field.name for field in message}

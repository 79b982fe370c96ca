"""`finetune` end to end on a model of a few thousand weights: what it writes, how it resumes, what it refuses."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from gtm_shards import converse, save_base, write_dataset, write_shard

from carg.errors import ConfigError, StoreError, TrainError, TryLater
from carg.finetune import finetune
from carg.gtm import checkpoint, loop, lora, tokens
from carg.gtm.model import hush, make_model
from carg.gtm.settings import FinetuneSettings, StepReport, resolve


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("dataset"))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def settings(base: Path) -> FinetuneSettings:
    return FinetuneSettings(
        base=str(base), context=512, row_tokens=512, batch_tokens=2048, lr=1e-2, steps=6, checkpoint_every=2
    )


def digest_weights(out: Path) -> str:
    return hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest()


def logged_steps(out: Path) -> list[int]:
    lines = map(json.loads, (out / "train.jsonl").read_text().splitlines())
    return [line["step"] for line in lines if "loss" in line]


def test_output_loads_in_transformers_and_measures_held_out_splits(
    dataset: Path, settings: FinetuneSettings, tmp_path: Path
) -> None:
    """The folder has model, tokenizer with template, generation settings and card; each held-out split is measured."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    report = finetune(dataset, tmp_path, settings)

    with hush():
        model = AutoModelForCausalLM.from_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    talk = [{"role": "user", "content": "a"}]
    assert tokenizer.apply_chat_template(talk, tokenize=False) == "<|im_start|>user\na<|im_end|>\n"
    assert model.config._attn_implementation == "sdpa"
    assert tokenizer.eos_token_id == GenerationConfig.from_pretrained(tmp_path).eos_token_id
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert [one.split for one in report.evals] == ["validation", "test_tools"]
    assert "| test_tools |" in (tmp_path / "README.md").read_text()
    assert logged_steps(tmp_path) == [1, 2, 3, 4, 5, 6]
    assert report.steps == 6
    picture = ElementTree.parse(tmp_path / "loss.svg").getroot()
    curve = picture.findall("{http://www.w3.org/2000/svg}polyline")[1].get("points", "")
    assert len(curve.split()) == 6
    assert report.parameters == model.num_parameters()


def test_init_trains_a_tokenizer_and_a_fresh_model(dataset: Path, tmp_path: Path) -> None:
    """`init` sizes the embedding from the tokenizer that the shards gave; the loss starts near that of a guess."""
    seen: list[StepReport] = []
    settings = FinetuneSettings(init="tiny", vocab_size=300, context=512, row_tokens=512, batch_tokens=512, steps=1)

    finetune(dataset, tmp_path, settings, on_step=seen.append)

    config = json.loads((tmp_path / "config.json").read_text())
    assert config["vocab_size"] == 320
    assert 5.4 < seen[0].loss < 7.0


@pytest.fixture(scope="module")
def straight(dataset: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Digest of the weights of six uninterrupted steps."""
    out = tmp_path_factory.mktemp("straight")
    wide = FinetuneSettings(base=str(base), context=512, row_tokens=512, batch_tokens=2048, lr=1e-2, steps=6)
    finetune(dataset, out, wide)
    return digest_weights(out)


def test_muon_resumes_bit_for_bit(dataset: Path, settings: FinetuneSettings, tmp_path: Path) -> None:
    """With the decoder under Muon and context in the loss, an interrupted run ends with the same weights too."""
    turned = replace(settings, optimizer="muon", context_weight=0.5)
    finetune(dataset, tmp_path / "straight", turned)

    with pytest.raises(TryLater):
        finetune(dataset, tmp_path / "broken", turned, on_step=lambda report: os.kill(os.getpid(), signal.SIGTERM))
    finetune(dataset, tmp_path / "broken", turned)

    assert digest_weights(tmp_path / "straight") == digest_weights(tmp_path / "broken")


def test_sigterm_saves_and_the_same_command_goes_on(
    dataset: Path, settings: FinetuneSettings, straight: str, tmp_path: Path
) -> None:
    """SIGTERM ends the run after the step with exit code 75; going on gives bit for bit the uninterrupted weights."""

    def end_at_three(report: StepReport) -> None:
        if report.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(TryLater, match="after step 3 of 6") as told:
        finetune(dataset, tmp_path, settings, on_step=end_at_three)
    finetune(dataset, tmp_path, settings)

    assert told.value.exit_code == 75
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert digest_weights(tmp_path) == straight
    assert logged_steps(tmp_path) == [1, 2, 3, 4, 5, 6]


def test_crash_costs_the_steps_since_the_last_checkpoint_only(
    dataset: Path, settings: FinetuneSettings, straight: str, tmp_path: Path
) -> None:
    """A crash in step 5 is gone on from step 4: same weights, no step logged twice, two checkpoints kept."""

    def crash(report: StepReport) -> None:
        if report.step == 5:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        finetune(dataset, tmp_path, settings, on_step=crash)
    seen: list[int] = []
    finetune(dataset, tmp_path, settings, on_step=lambda report: seen.append(report.step))

    assert seen == [5, 6]
    assert digest_weights(tmp_path) == straight
    assert logged_steps(tmp_path) == [1, 2, 3, 4, 5, 6]
    kept = checkpoint.find_checkpoints(tmp_path / "checkpoints")
    assert [place.name for place in kept] == ["step-000004", "step-000006"]


def test_finished_run_is_not_trained_again(dataset: Path, settings: FinetuneSettings, tmp_path: Path) -> None:
    """The same command on a finished folder returns its report without a step."""
    first = finetune(dataset, tmp_path, replace(settings, steps=2))
    seen: list[StepReport] = []

    again = finetune(dataset, tmp_path, replace(settings, steps=2), on_step=seen.append)

    assert (again, seen) == (first, [])


def test_changes_since_the_checkpoint_are_refused_by_name(
    dataset: Path, settings: FinetuneSettings, tmp_path: Path
) -> None:
    """Other settings, shards or tokenizer are refused, each by name; settings of comfort may change."""
    out = tmp_path / "out"
    finetune(dataset, out, replace(settings, steps=2))
    other_data = write_dataset(tmp_path / "other", seed=9)

    with pytest.raises(TrainError, match=r"lr was 0\.01 and is 0\.02; steps was 2 and is 4"):
        finetune(dataset, out, replace(settings, steps=4, lr=2e-2))
    with pytest.raises(TrainError, match=r"the dataset changed$"):
        finetune(other_data, out, replace(settings, steps=2))
    assert finetune(dataset, out, replace(settings, steps=2, keep=1, eval_rows=1)).steps == 2


def test_torn_checkpoint_is_named(dataset: Path, settings: FinetuneSettings, tmp_path: Path) -> None:
    """A checkpoint with spoiled bytes is an error that says which folder to remove."""
    finetune(dataset, tmp_path, replace(settings, steps=2))
    (tmp_path / "report.json").unlink()
    (tmp_path / "checkpoints" / "step-000002" / "weights.safetensors").write_bytes(b"torn")

    with pytest.raises(TrainError, match=r"step-000002 cannot be read") as fault:
        finetune(dataset, tmp_path, replace(settings, steps=2))
    assert "remove that folder" in fault.value.hint


def test_loss_is_normalised_over_the_whole_step(dataset: Path, settings: FinetuneSettings, tmp_path: Path) -> None:
    """One step over the same conversations has the same loss and gradient, in one row or in thirty."""
    found: list[StepReport] = []
    for row_tokens, name in ((512, "narrow"), (65_536, "wide")):
        one = replace(settings, row_tokens=row_tokens, batch_tokens=65_536, steps=1, compute="fp32", context=512)
        finetune(dataset, tmp_path / name, one, on_step=found.append)

    narrow, wide = found
    assert narrow.tokens == wide.tokens
    assert narrow.loss == pytest.approx(wide.loss, rel=1e-5)
    assert narrow.grad_norm == pytest.approx(wide.grad_norm, rel=1e-4)


def test_loss_that_is_no_number_stops_the_run(dataset: Path, settings: FinetuneSettings, tmp_path: Path) -> None:
    """NaN ends training with an error; no checkpoint of broken weights is written."""
    from safetensors.torch import load_file, save_file

    broken = save_base(tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(TrainError, match=r"step 1: loss nan.*no checkpoint was written yet"):
        finetune(dataset, tmp_path / "out", replace(settings, base=str(broken)))
    assert checkpoint.find_checkpoints(tmp_path / "out" / "checkpoints") == []


def test_divergence_names_the_last_good_checkpoint(tmp_path: Path) -> None:
    """A loss far above its best is an error naming the newest checkpoint; a falling one is not."""
    place = tmp_path / "step-000008"
    place.mkdir()
    (place / "state.json").write_text("{}")
    fields = dict.fromkeys(StepReport.__dataclass_fields__, 1.0)
    progress = checkpoint.Progress()

    for step, loss in enumerate((3.0, 2.5, 2.8, 1.0), start=1):
        loop._guard(StepReport(**{**fields, "step": step, "loss": loss}), progress, tmp_path)
    with pytest.raises(TrainError, match=r"the loss diverged: .*step-000008"):
        loop._guard(StepReport(**{**fields, "step": 5, "loss": 40.0}), progress, tmp_path)


def test_all_faulty_settings_are_reported_at_once() -> None:
    """Every fault of the settings is in one error, before anything is loaded."""
    faulty = FinetuneSettings(
        init="tiny", base="x", lr=-1.0, context=900, row_tokens=800, batch_tokens=1000, warmup=2.0
    )

    with pytest.raises(ConfigError) as fault:
        resolve(faulty)

    named = ("exactly one of init", "lr -1.0", "row_tokens 8", "batch_tokens 10", "warmup 2.0")
    assert all(part in fault.value.message for part in named)


@pytest.mark.parametrize("init", ["tiny", "small", "1.5b"])
def test_presets_resolve_to_sound_settings(init: str) -> None:
    """Every preset needs no other setting."""
    filled = resolve(FinetuneSettings(init=init))  # type: ignore[arg-type]

    assert None not in (filled.vocab_size, filled.context, filled.row_tokens, filled.batch_tokens, filled.lr)


def test_missing_dataset_is_named(settings: FinetuneSettings, tmp_path: Path) -> None:
    """A folder without training shards is a StoreError that says how to make them."""
    with pytest.raises(StoreError, match="no train"):
        finetune(tmp_path, tmp_path / "out", settings)


def test_clock_ends_a_run(dataset: Path, settings: FinetuneSettings, tmp_path: Path) -> None:
    """`max_minutes` ends training early, with the model written and the learning rate almost down."""
    seen: list[StepReport] = []

    report = finetune(dataset, tmp_path, replace(settings, steps=100_000, max_minutes=0.005), on_step=seen.append)

    assert 0 < report.steps < 100_000
    assert (tmp_path / "model.safetensors").exists()


def test_adapters_merge_into_the_layers(tmp_path: Path) -> None:
    """A merged model answers as the adapted one did, and only adapters learn."""
    tokenizer = tokens.load_tokenizer(save_base(tmp_path))
    model = make_model("tiny", tokenizer, context=64, seed=0)
    lora.add_adapters(model, 2, seed=0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(".up"):
                weight.normal_(std=0.1)
    ids = torch.tensor([[1, 2, 3]])

    adapted = model(input_ids=ids).logits
    names = {name.rsplit(".", 1)[1] for name, weight in model.named_parameters() if weight.requires_grad}
    lora.merge_adapters(model)

    assert names == {"up", "down"}
    assert torch.allclose(adapted, model(input_ids=ids).logits, atol=1e-5)
    assert not any(isinstance(layer, lora.LowRank) for layer in model.modules())


def test_lora_run_leaves_a_plain_model(dataset: Path, settings: FinetuneSettings, tmp_path: Path) -> None:
    """A run with adapters resumes and exports a model without them, changed from its base."""
    adapted = replace(settings, lora_rank=2, steps=2)

    finetune(dataset, tmp_path, adapted)

    from safetensors import safe_open

    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        names = set(file.keys())
    assert not any(name.endswith((".up", ".down", ".base.weight")) for name in names)
    assert digest_weights(tmp_path) != digest_weights(Path(str(settings.base)))


@pytest.mark.slow
def test_two_processes_train_as_one(dataset: Path, settings: FinetuneSettings, tmp_path: Path) -> None:
    """FSDP over two processes has the losses of one process to 1e-5, and one process goes on from its checkpoint."""
    one: list[StepReport] = []
    exact = replace(settings, compute="fp32", steps=6, device="cpu", checkpoint_every=3)
    finetune(dataset, tmp_path / "one", exact, on_step=one.append)
    script = tmp_path / "run.py"
    script.write_text(
        "import os, sys\nfrom pathlib import Path\nfrom carg.finetune import finetune\n"
        "from carg.gtm.settings import FinetuneSettings\n"
        "def stop(report):\n    if report.step == 4: os._exit(0)\n"
        f"finetune(Path({str(dataset)!r}), Path({str(tmp_path / 'two')!r}), {exact!r}, on_step=stop)\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)

    logged = [json.loads(line) for line in (tmp_path / "two" / "train.jsonl").read_text().splitlines()]
    assert done.returncode == 0, done.stderr[-2000:]
    assert [line["loss"] for line in logged] == pytest.approx([step.loss for step in one[:4]], rel=1e-5)
    rest: list[StepReport] = []
    finetune(dataset, tmp_path / "two", exact, on_step=rest.append)
    assert [step.loss for step in rest] == pytest.approx([step.loss for step in one[3:]], rel=1e-4)


@pytest.mark.slow
def test_tiny_model_learns_four_rows_by_heart(tmp_path: Path) -> None:
    """A hundred steps on the same four short conversations leave almost no loss."""
    rng = random.Random(0)
    rows = [converse(rng, exchanges=1, records=3) for _ in range(4)]
    write_shard(tmp_path / "d" / "simulator" / "train-00000-of-00001.parquet", rows)
    settings = FinetuneSettings(init="tiny", vocab_size=400, steps=100, lr=2e-3)

    report = finetune(tmp_path / "d", tmp_path / "out", settings)

    assert report.accuracy > 0.99

"""`finetune` end to end on a model of a few thousand weights: what it writes, how it resumes, what it refuses."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from gtm_shards import Message, converse, save_base, write_dataset, write_shard

import carg.finetune as finetuning
from carg.console import Screen
from carg.errors import ConfigError, StoreError, TrainError, TryLater
from carg.finetune import finetune
from carg.gtm import checkpoint, loop, lora, tokens
from carg.gtm.model import hush, load_model, make_model
from carg.gtm.optimizers import make_optimizers
from carg.gtm.parallel import World, join_world
from carg.gtm.settings import FinetuneSettings, StepReport, resolve
from carg.training import choose, describe_step, train


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
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["architectures"] == ["Qwen2ForCausalLM"]
    assert not [name for name in written if "attn" in name]
    assert logged_steps(tmp_path) == [1, 2, 3, 4, 5, 6]
    assert report.steps == 6
    picture = ElementTree.parse(tmp_path / "loss.svg").getroot()
    lines = picture.findall("{http://www.w3.org/2000/svg}polyline")
    curves = [line.get("points", "").split() for line in lines if line.get("stroke") in ("#b9d4e8", "#1f77b4")]
    assert [len(curve) for curve in curves] == [6, 6]
    assert len(picture.findall("{http://www.w3.org/2000/svg}circle")) == 2
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

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(TryLater, match="after step 3 of 6") as told:
        finetune(dataset, tmp_path, settings, on_step=end_at_three)
    finetune(dataset, tmp_path, settings)

    assert told.value.exit_code == 75
    assert signal.getsignal(signal.SIGTERM) == before
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

    named = ("not both", "lr -1.0", "row_tokens 8", "batch_tokens 10", "warmup 2.0")
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
    """`minutes` ends training early, with the model written and the learning rate almost down."""
    seen: list[StepReport] = []

    report = finetune(dataset, tmp_path, replace(settings, steps=100_000, minutes=0.005), on_step=seen.append)

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


def talk_about(answer: str) -> list[Message]:
    """A short conversation of the other kind: an agent that is shown candidates."""
    return [
        {"role": "system", "content": "Candidates: get_book, find_book", "train": False},
        {"role": "user", "content": "Which is the better one for a title?", "train": False},
        {"role": "assistant", "content": answer, "train": True},
    ]


def test_two_stages_of_selection_are_two_runs_of_the_same_command(base: Path, tmp_path: Path) -> None:
    """Rank, then select: each stage reads the rows of its label alone, and the second begins at the first's weights."""
    rows = [talk_about(f"rank {number}") for number in range(6)] + [talk_about("select") for _ in range(4)]
    shard = tmp_path / "selection" / "train-00000-of-00001.parquet"
    write_shard(shard, rows, labels=["rank"] * 6 + ["select"] * 4)
    small = FinetuneSettings(context=256, row_tokens=256, batch_tokens=512, lr=1e-2, steps=2)

    first = finetune(tmp_path, tmp_path / "1", replace(small, base=str(base), rows="selection:rank"))
    second = finetune(tmp_path, tmp_path / "2", replace(small, base=str(tmp_path / "1"), rows="selection:select"))

    assert (first.conversations, second.conversations) == (6, 4)
    assert digest_weights(tmp_path / "2") != digest_weights(tmp_path / "1")
    with pytest.raises(TrainError, match="of 0 rows labelled judge in 1 shards"):
        finetune(tmp_path, tmp_path / "3", replace(small, base=str(base), rows="selection:judge"))
    with pytest.raises(StoreError, match=r"/simulator: no train-\*.parquet"):
        finetune(tmp_path, tmp_path / "3", replace(small, base=str(base)))


def test_empty_dataset_is_told(settings: FinetuneSettings, tmp_path: Path) -> None:
    """Shards without a row."""
    write_shard(tmp_path / "simulator" / "train-00000-of-00001.parquet", [])

    with pytest.raises(TrainError, match="of 0 rows in 1 shards, no message is marked `train`"):
        finetune(tmp_path, tmp_path / "out", settings)


def test_held_out_split_without_answers_is_passed_over(
    dataset: Path, settings: FinetuneSettings, tmp_path: Path
) -> None:
    """It is told, and the others are measured."""
    shutil.copytree(dataset, tmp_path / "d")
    write_shard(tmp_path / "d" / "simulator" / "validation-00000-of-00001.parquet", [])
    heard: list[str] = []

    report = finetune(tmp_path / "d", tmp_path / "out", replace(settings, steps=1), on_note=heard.append)

    assert [one.split for one in report.evals] == ["test_tools"]
    assert any(text.startswith("validation is not measured: ") for text in heard)


@pytest.mark.parametrize("grow", [0, 32])
def test_base_that_does_not_fit_its_tokenizer_is_refused(
    dataset: Path, settings: FinetuneSettings, base: Path, tmp_path: Path, grow: int
) -> None:
    """A model with fewer embeddings than the tokenizer has tokens; one that has more is used as it is."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    shutil.copytree(base, tmp_path / "base")
    with hush():
        model = AutoModelForCausalLM.from_pretrained(base)
        model.resize_token_embeddings(len(AutoTokenizer.from_pretrained(base)) - 32 + 2 * grow)
        model.save_pretrained(tmp_path / "base")
    other = replace(settings, base=str(tmp_path / "base"), steps=1)

    if grow:
        assert finetune(dataset, tmp_path / "out", other).steps == 1
    else:
        with pytest.raises(TrainError, match=r"embeddings for \d+ tokens"):
            finetune(dataset, tmp_path / "out", other)


def test_base_with_sliding_windows_is_refused(base: Path, tmp_path: Path) -> None:
    """We would attend to more than such a model does when it is served."""
    from transformers import AutoConfig

    shutil.copytree(base, tmp_path / "base")
    config = AutoConfig.from_pretrained(base)
    config.layer_types = ["full_attention", "sliding_attention"]
    config.save_pretrained(tmp_path / "base")

    with pytest.raises(TrainError, match="full attention in every layer"):
        load_model(tmp_path / "base", tokens.load_tokenizer(base))


def test_checkpoint_of_another_model_is_refused(
    dataset: Path, settings: FinetuneSettings, base: Path, tmp_path: Path
) -> None:
    """A base folder that holds another model by now is noticed by its shapes."""
    from safetensors.torch import load_file, save_file

    finetune(dataset, tmp_path, replace(settings, steps=1))
    (tmp_path / "report.json").unlink()
    file = tmp_path / "checkpoints" / "step-000001" / "weights.safetensors"
    weights = load_file(file)
    save_file({name: weight[..., :4].contiguous() for name, weight in weights.items()}, file)

    with pytest.raises(TrainError, match="weights of another model"):
        finetune(dataset, tmp_path, replace(settings, steps=1))


def test_full_disk_leaves_the_last_good_checkpoint(
    dataset: Path, settings: FinetuneSettings, straight: str, tmp_path: Path
) -> None:
    """A save that hits the limit of the disk ends in one error and no half checkpoint; more room, and it goes on."""
    finetune(dataset, tmp_path / "room", replace(settings, steps=1))  # libraries write caches of their own at first use

    def shrink(report: StepReport) -> None:
        if report.step == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    listens = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with pytest.raises(TrainError, match=r"cannot write to .*File too large") as fault:
            finetune(dataset, tmp_path / "out", settings, on_step=shrink)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, listens)
    left = [place.name for place in (tmp_path / "out" / "checkpoints").iterdir()]
    finetune(dataset, tmp_path / "out", settings)

    assert "free some space" in fault.value.hint
    assert left == ["step-000002"]
    assert digest_weights(tmp_path / "out") == straight


@pytest.mark.parametrize(
    ("fault", "size", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried\nmore"), 1, "too little memory: CUDA out of memory"),
        (RuntimeError("[gloo] Connection closed by peer"), 2, "process 0 of 2 lost the others: .*closed by peer"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "cannot write to out: .*No space left"),
    ],
)
def test_faults_of_the_machine_are_told_plainly(fault: Exception, size: int, words: str) -> None:
    """Full memory, a full disk and a lost process are one error each, that says the run can go on."""
    world = World(0, size, torch.device("cpu"))

    with pytest.raises(TrainError, match=words) as caught, finetuning._plainly(Path("out"), world):
        raise fault
    assert "goes on from the last checkpoint" in caught.value.hint


def test_other_faults_are_not_taken_for_those() -> None:
    """A mistake of ours stays what it is."""
    alone = World(0, 1, torch.device("cpu"))

    for fault in (FileNotFoundError(errno.ENOENT, "gone"), RuntimeError("shapes")):
        with pytest.raises(type(fault)), finetuning._plainly(Path("out"), alone):
            raise fault


# What the command line makes of flags and file ----------------------------------------------------------------------


def test_every_setting_is_a_flag_with_a_reason_and_a_key_of_the_file(tmp_path: Path) -> None:
    """One list serves both; flags go before the file, and a size of one kind pushes out the other's."""
    from carg.cli import cli

    names = {item.name for item in fields(FinetuneSettings)}
    options = {option.name: option for option in cli.commands["finetune"].params}
    assert names <= options.keys()
    assert all(len(options[name].help or "") > 15 for name in names)  # type: ignore[attr-defined]

    values = {"init": "tiny", "rows": "selection", "optimizer": "adamw", "compute": "fp32", "device": "cpu"}
    values |= {"recompute": True, "compile": False, "base": None, "warmup": 0.5, "beta2": 0.5, "seed": None}
    keys = {name: values.get(name, 3) for name in names if values.get(name, 3) is not None}
    file = tmp_path / "run.toml"
    lines = [f"{name.replace('_', '-')} = {json.dumps(value)}" for name, value in keys.items()]
    file.write_text("\n".join([f'[run]\nfolder = "{tmp_path}"\nseed = 7\n[finetune]', *lines]))

    dataset, out, chosen = choose(None, file, {"steps": 9, "base": "b"})

    assert (dataset, out) == (tmp_path / "dataset", tmp_path / "model")
    del keys["init"]
    assert chosen == {**keys, "seed": 7, "steps": 9, "base": "b"}


def test_flags_reach_the_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is given, and nothing else; the file may be left out."""
    from click.testing import CliRunner

    from carg.cli import cli

    told: list[object] = []
    monkeypatch.setattr("carg.training.train", lambda screen, *given, **options: told.append((given, options)))
    words = "finetune --run r --context-weight 0.5 --keep 3 --no-compile --recompute --rows selection:rank --lr 1e-3"

    ended = CliRunner().invoke(cli, words.split())

    assert ended.exit_code == 0, ended.output
    given = {
        "context_weight": 0.5,
        "keep": 3,
        "compile": False,
        "recompute": True,
        "rows": "selection:rank",
        "lr": 1e-3,
    }
    assert told == [((Path("r/dataset"), Path("r/model")), {"fresh": False, **given})]


def test_only_the_first_process_speaks(
    dataset: Path, settings: FinetuneSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Of several processes one draws progress and prints the table."""
    monkeypatch.setenv("RANK", "1")

    train(Screen(), dataset, tmp_path, **{**asdict(settings), "steps": 1})

    assert capsys.readouterr() == ("", "")


def test_a_step_is_one_line() -> None:
    """With what is known: a GPU has a share of its peak, hours are shown where there are any."""
    fields_of = dict.fromkeys(StepReport.__dataclass_fields__, 0.0)
    report = StepReport(
        **{
            **fields_of,
            "step": 1200,
            "steps": 5000,
            "loss": 0.51234,
            "accuracy": 0.875,
            "tokens_per_s": 45_678.9,
            "mfu": 0.412,
            "memory_bytes": 61_000_000_000,
            "eta_s": 3725.0,
        }
    )

    line = describe_step(report)

    assert line == "step 1,200/5,000  loss 0.512  accuracy 87.5%  45,679 tokens/s  MFU 41.2%  61.0 GB  1:02:05 left"
    assert describe_step(replace(report, mfu=None, eta_s=65.4)).endswith("45,679 tokens/s  61.0 GB  1:05 left")


# Several processes --------------------------------------------------------------------------------------------------


def spread(tmp_path: Path, body: str) -> subprocess.CompletedProcess[str]:
    """Two processes under torchrun that run the body of a script."""
    script = tmp_path / "run.py"
    script.write_text(
        "import os, signal, sys\nfrom pathlib import Path\nfrom carg.finetune import finetune, prepare\n"
        "from carg.errors import CargError\n"
        "from carg.gtm import checkpoint\nfrom carg.gtm.optimizers import make_optimizers\n"
        "from carg.gtm.parallel import join_world\nfrom carg.gtm.settings import FinetuneSettings, resolve\n" + body
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def tensors_of(place: Path) -> list[bytes]:
    return [(place / f"{part}.safetensors").read_bytes() for part in ("weights", "optimizer")]


@pytest.mark.slow
def test_another_number_of_processes_goes_on_alike(dataset: Path, settings: FinetuneSettings, tmp_path: Path) -> None:
    """1 -> 2 -> 1: weights and moments are bit for bit those of the checkpoint, losses those of one process to 1e-5."""
    exact = replace(settings, compute="fp32", steps=6, device="cpu", checkpoint_every=2, keep=9)
    one, out = tmp_path / "one", tmp_path / "mixed"
    whole: list[StepReport] = []
    finetune(dataset, one, exact, on_step=whole.append)
    shutil.copytree(one, out)
    for gone in ("checkpoints/step-000004", "checkpoints/step-000006"):
        shutil.rmtree(out / gone)
    (out / "report.json").unlink()
    where = f"Path({str(dataset)!r}), Path({str(out)!r})"

    done = spread(
        tmp_path,
        f"settings = resolve({exact!r})\nhome = Path({str(out)!r}) / 'checkpoints'\n"
        "with join_world('cpu') as world:\n"
        f"    job, _, _ = prepare({where}, settings, world, print)\n"
        "    optimizers = make_optimizers(job.learner, settings, world)\n"
        "    progress = checkpoint.load(home / 'step-000002', job.learner, optimizers, job.pledge)\n"
        "    again = home.with_name('again')\n"
        "    checkpoint.save(again, job.learner, optimizers, progress, job.pledge, world=world, keep=1)\n"
        "def stop(report):\n    if report.step == 5: os._exit(0)\n"
        f"finetune({where}, settings, on_step=stop)\n",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert tensors_of(out / "again" / "step-000002") == tensors_of(out / "checkpoints" / "step-000002")
    logged = [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]
    losses = {line["step"]: line["loss"] for line in logged if "loss" in line}
    assert losses == pytest.approx({step.step: step.loss for step in whole[:5]}, rel=1e-5)

    with join_world("cpu") as world:
        job, _, _ = finetuning.prepare(dataset, out, resolve(exact), world, str)
        optimizers = make_optimizers(job.learner, job.settings, world)
        place = out / "checkpoints" / "step-000004"
        progress = checkpoint.load(place, job.learner, optimizers, job.pledge)
        again = checkpoint.save(tmp_path / "back", job.learner, optimizers, progress, job.pledge, world=world, keep=1)
    assert tensors_of(again) == tensors_of(place)
    rest: list[StepReport] = []
    finetune(dataset, out, exact, on_step=rest.append)
    assert [step.loss for step in rest] == pytest.approx([step.loss for step in whole[4:]], rel=1e-5)


@pytest.mark.slow
def test_killed_process_is_told_and_the_last_checkpoint_loads(
    dataset: Path, settings: FinetuneSettings, tmp_path: Path
) -> None:
    """The one that is left says that it lost the others; one process then ends the run."""
    exact = replace(settings, compute="fp32", steps=6, device="cpu", checkpoint_every=2)

    done = spread(
        tmp_path,
        "def strike(report):\n"
        "    if report.step == 3 and os.environ['RANK'] == '1': os.kill(os.getpid(), signal.SIGKILL)\n"
        f"try: finetune(Path({str(dataset)!r}), Path({str(tmp_path / 'out')!r}), {exact!r}, on_step=strike)\n"
        "except CargError as told: print('told:', told.message, flush=True); os._exit(1)\n",
    )

    assert done.returncode != 0
    assert "told: process 0 of 2 lost the others: " in done.stdout, done.stderr[-3000:]
    seen: list[int] = []
    finetune(dataset, tmp_path / "out", exact, on_step=lambda report: seen.append(report.step))
    assert seen == [3, 4, 5, 6]


@pytest.mark.slow
def test_tiny_model_learns_four_rows_by_heart(tmp_path: Path) -> None:
    """A hundred steps on the same four short conversations leave almost no loss."""
    rng = random.Random(0)
    rows = [converse(rng, exchanges=1, records=3) for _ in range(4)]
    write_shard(tmp_path / "d" / "simulator" / "train-00000-of-00001.parquet", rows)
    settings = FinetuneSettings(init="tiny", vocab_size=400, steps=100, lr=2e-3)

    report = finetune(tmp_path / "d", tmp_path / "out", settings)

    assert report.accuracy > 0.99

"""The GPU programme at toy size: every step on a CPU, killed and called again; its pieces join to what was split."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
HOME = ROOT / "benchmarks" / "gpu"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scripts import each other as scripts do: from their own folder."""
    monkeypatch.syspath_prepend(str(HOME))
    for name in ("pack", "pieces", "programme", "report", "steps", "visit"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.usefixtures("gpu")
def test_pieces_join_to_the_whole(tmp_path: Path) -> None:
    """No piece is larger than asked, and together they are the file; a damaged and a missing one are named."""
    import pieces

    whole = tmp_path / "weights.safetensors"
    whole.write_bytes(bytes(range(256)) * 10)
    manifest = pieces.split(whole, tmp_path, most_bytes=1000)

    assert [path.stat().st_size for path in sorted(tmp_path.glob("*.bin"))] == [1000, 1000, 560]
    assert pieces.join(manifest, tmp_path / "joined").read_bytes() == whole.read_bytes()

    (tmp_path / "weights-001.bin").write_bytes(b"x" * 1000)
    (tmp_path / "weights-002.bin").unlink()
    with pytest.raises(ValueError, match=r"missing or damaged: weights-001.bin, weights-002.bin$"):
        pieces.join(manifest, tmp_path / "joined")


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("jsonschema_rs-0.60.3-cp310-abi3-manylinux_2_17_x86_64.whl", "jsonschema-rs"),
        ("rfc3339_validator-0.1.4-py2.py3-none-any.whl", "rfc3339-validator"),
        ("PyYAML==6.0.3", "pyyaml"),
        ("numpy", "numpy"),
        ("pyarrow @ file:///wheels", "pyarrow"),
        ("# a comment", ""),
    ],
)
def test_wheels_and_requirements_have_one_name(text: str, name: str) -> None:
    """So that what `pip freeze` lists is left out of what is packed."""
    import pack

    assert pack.name_of(text) == name


@pytest.mark.usefixtures("gpu")
def test_a_step_that_fails_twice_is_told_and_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first failure asks for another visit; the second is the result, and the steps after it are done."""
    import programme
    import visit

    def fail(_: Any) -> Any:
        raise RuntimeError("no kernel")

    (tmp_path / "results").mkdir()
    (tmp_path / "out").mkdir()
    one = visit.Visit(tmp_path, tmp_path / "out", True, visit.sizes_of(True, None, None), 1e12)
    steps = [programme.Step("parity", fail, 0), programme.Step("after", lambda _: {"n": 1}, 0)]
    monkeypatch.setattr(programme, "STEPS", steps)

    assert programme.walk(one) == 75
    assert programme.walk(one) == 0
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {name: told["result"] for name, told in found.items()} == {
        "parity": {"failed": "no kernel"},
        "after": {"n": 1},
    }
    assert "- parity failed: no kernel" in (tmp_path / "out" / "table.md").read_text()


@pytest.mark.usefixtures("gpu")
def test_parity_tells_a_sound_path_from_a_spoiled_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The paths that this machine has pass, to fp32; one whose documents see each other does not."""
    import steps
    import torch

    made = steps.parity(torch.device("cpu"), True)
    assert {name: path["passes"] for name, path in made["paths"].items()} == {
        "documents fp32": True,
        "documents bf16": True,
    }
    assert made["paths"]["documents fp32"]["out"] < 1e-6
    assert made["packed"]["relative"] < 1e-2

    real = steps.attention.find_seams
    monkeypatch.setattr(steps.attention, "find_seams", lambda lengths, **_: real([sum(lengths)], longest=sum(lengths)))
    leaking = steps.parity(torch.device("cpu"), True)["paths"]["documents fp32"]
    assert leaking["out"] > 0.1


@pytest.mark.slow
def test_the_programme_goes_on_after_a_kill(tmp_path: Path) -> None:
    """What was done before the kill is not done again; in the end every step has a result and the weights are whole."""
    work, out = tmp_path / "work", tmp_path / "out"
    words = [sys.executable, str(HOME / "programme.py"), "--work", str(work), "--out", str(out), "--dry"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True) as first:
        assert first.stdout is not None
        lines = []
        for line in first.stdout:
            lines.append(line)
            if "parity: done" in line:
                os.killpg(first.pid, signal.SIGKILL)
                break
    assert "parity: done" in "".join(lines[-1:]), lines
    before = (work / "results" / "parity.json").stat().st_mtime_ns
    assert not (work / "results" / "train.json").exists()

    for _ in range(4):  # on a busy machine a visit may run out of its minutes
        told = subprocess.run(words, capture_output=True, text=True, check=False)
        if told.returncode != 75:
            break

    assert told.returncode == 0, told.stdout + told.stderr
    assert (work / "results" / "parity.json").stat().st_mtime_ns == before
    results = json.loads((out / "results.json").read_text())
    steps = {"environment", "start", "parity", "speed", "corpus", "wait", "train", "decode", "evaluate", "weights"}
    assert set(results) == steps
    assert [name for name, one in results.items() if "failed" in one["result"]] == []
    assert all(path["passes"] for path in results["parity"]["result"]["paths"].values())
    assert {one["row_tokens"] for one in results["speed"]["result"]} == {256, 512}
    files = list(out.iterdir())
    assert len(files) <= 8
    assert max(path.stat().st_size for path in files) <= 1_000_000
    joined = subprocess.run(
        [sys.executable, str(HOME / "pieces.py"), str(out / "weights.json"), "--into", str(tmp_path)], check=False
    )
    assert joined.returncode == 0
    assert (tmp_path / "weights.safetensors").read_bytes() == (work / "pieces" / "weights.safetensors").read_bytes()

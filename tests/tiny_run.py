"""A run of the small world, made once and copied, and commands run in this process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small_world import TEXT

from carg.cli import main
from carg.pipeline import expand, filter_sessions, generate

ROOT = Path(__file__).parents[1]
Carg = Callable[..., tuple[int, str, str]]
N_EXCHANGES = 90
INSTANCES = 3
"""Of each of two services: two parts of sessions."""


def write_domain(folder: Path, name: str = "tool_library", text: str = TEXT) -> Path:
    """A domain file in a folder that CARG_DOMAINS can name."""
    path = folder / "culture" / f"{name}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def domains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small world as the only domain."""
    folder = tmp_path / "domains"
    write_domain(folder)
    monkeypatch.setenv("CARG_DOMAINS", str(folder))
    return folder


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run, which nobody may change."""
    folder = tmp_path_factory.mktemp("made")
    write_domain(folder / "domains")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CARG_DOMAINS", str(folder / "domains"))
        expand(folder / "run", n_instances=INSTANCES)
        generate(folder / "run", n_exchanges=N_EXCHANGES, width=1)
        filter_sessions(folder / "run", width=1)
    return folder / "run"


@pytest.fixture
def run(made_once: Path, domains: Path, tmp_path: Path) -> Path:
    """A copy of the whole run."""
    return Path(shutil.copytree(made_once, tmp_path / "run"))


@pytest.fixture
def carg(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Carg:
    """A command in this process: exit code, stdout, stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["carg", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    return call


def in_process(code: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Python code in a process of its own, with this environment."""
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=dict(os.environ))


def files_of(folder: Path) -> dict[str, bytes]:
    """What a folder holds, by path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in walk(folder) if path.name != ".lock"}


def walk(folder: Path) -> Iterator[Path]:
    """The files of a folder and of those in it."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file())

"""The wheel, installed elsewhere, brings its prompts and domains along."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


def call(*words: object, cwd: Path, path: Path | None = None) -> str:
    """What a command says on stdout; it must end well."""
    environment = {name: value for name, value in os.environ.items() if name not in ("CARG_DOMAINS", "PYTHONPATH")}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run([*map(str, words)], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built as a user's pip would build it; skipped where the build backend cannot be had."""
    folder = tmp_path_factory.mktemp("wheel")
    isolated = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    done = subprocess.run(isolated, capture_output=True, text=True)
    if done.returncode and "hatchling" in done.stderr:
        pytest.skip("hatchling cannot be had here")
    assert done.returncode == 0, done.stderr[-2000:]
    (made,) = folder.glob("carg-*.whl")
    return made


def test_the_wheel_holds_every_prompt_and_domain(wheel: Path) -> None:
    """And no test, output or cache."""
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("prompts", "domains"):
        kept = {f"carg/_data/{path.relative_to(ROOT)}" for path in (ROOT / folder).rglob("*.*") if path.is_file()}
        assert kept <= names
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"carg"}
    assert not [name for name in names if "__pycache__" in name]


def test_an_installed_wheel_works_in_another_folder(wheel: Path, tmp_path: Path) -> None:
    """It lists its domains and expands one; what it depends on is taken from this environment."""
    import click

    call(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    call(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    carg, site = tmp_path / "venv" / "bin" / "carg", Path(click.__file__).parents[1]
    where = call(python, "-c", "import carg; print(carg.__file__)", cwd=tmp_path, path=site).strip()
    listed = json.loads(call(carg, "--json", "domains", "list", cwd=tmp_path, path=site))
    made = json.loads(
        call(carg, "--quiet", "--json", "expand", "-d", "beekeeping", "--run", "run", cwd=tmp_path, path=site)
    )

    assert where.startswith(str(tmp_path))
    assert len(listed) == 300
    assert made["counts"]["tools"] > 0
    assert (tmp_path / "run" / "expand" / "expand.manifest.json").exists()
    shown = call(python, "-c", "from carg.prompts import prompt_names; print(*prompt_names())", cwd=tmp_path, path=site)
    assert set(shown.split()) == {path.stem for path in (ROOT / "prompts").glob("*.md")} - {"README"}

"""Who may import whom: the rows of the design from top to bottom, no cycles, and torch only where models are."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROWS = [
    "errors",
    "records encoding console",
    "pacing patterns vocabulary splits stats prompts store journal parallel gtm.settings config domains",
    "referee schemas fill edits loosening siblings normalising guessing comparing",
    "world scene",
    "render checks shards",
    "gtm",
    "backends replies ledger",
    "asking runner",
    "stages",
    "filter finetune evaluate evaluation stats.* importing simulate serve report status domain_check drafting made",
    "pipeline",
    "due planning training talking demo",
    "options commands cli __main__",
]
"""A module imports from its own row or rows above it, at load or within functions. `stats` alone is its Table."""
HEAVY = {"torch", "transformers", "litellm", "polars", "pyarrow", "rich", "aiohttp", "jsonschema", "datasets", "numpy"}
TRAINS = {"torch", "transformers", "safetensors", "tokenizers", "llguidance"}


def name_of(path: Path) -> str:
    """`carg/world/run.py` is world.run, `carg/world/__init__.py` is world."""
    return ".".join(path.relative_to(ROOT / "carg").with_suffix("").parts).removesuffix("__init__").rstrip(".")


FILES = {name_of(path): path for path in sorted((ROOT / "carg").rglob("*.py")) if name_of(path)}


TREES = {module: ast.parse(path.read_text()) for module, path in FILES.items()}


def row_of(module: str) -> int:
    """The row of the module itself, else that of the packages that it lies in."""
    for number, row in enumerate(ROWS):
        if module in row.split():
            return number
    package = module.rpartition(".")[0]
    starred = [number for number, row in enumerate(ROWS) if f"{package}.*" in row.split()]
    return starred[0] if starred else row_of(package) if package else -1


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module that the import statements name, with the names taken from it: `carg.errors.CargError`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{item.name}" for item in node.names)
        elif isinstance(node, ast.Import):
            yield from (item.name for item in node.names)


def at_load(tree: ast.Module) -> ast.Module:
    """The module without what runs later, and without what only type checkers read."""
    body = [node for node in tree.body if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
    return ast.Module([node for node in body if not isinstance(node, ast.If)], [])


def needs(tree: ast.AST) -> set[str]:
    """The modules of carg among the imports, as FILES names them."""
    found = set()
    for name in imported(tree):
        module = name.removeprefix("carg.")
        while name.startswith("carg.") and module and module not in FILES:
            module = module.rpartition(".")[0]
        if name.startswith("carg.") and module:
            found.add(module)
    return found


def typing_only(tree: ast.Module) -> set[str]:
    """What is imported under TYPE_CHECKING: names of types make no dependency."""
    guarded = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    return {module for node in guarded for module in needs(node)}


@pytest.mark.parametrize("module", FILES)
def test_a_module_imports_from_its_own_row_or_above(module: str) -> None:
    """Within functions, too: a late import hides no wrong direction."""
    tree = TREES[module]

    assert row_of(module) >= 0, f"{module} stands in no row: give it one"
    below = {other for other in needs(tree) - typing_only(tree) if row_of(other) > row_of(module)}
    assert below == set()


def test_no_modules_import_each_other_in_a_circle() -> None:
    """At load; the packages that a module lies in are loaded before it."""
    graph = {module: needs(at_load(tree)) - {module} for module, tree in TREES.items()}

    assert len(list(TopologicalSorter(graph).static_order())) == len(FILES)


def test_only_the_model_knows_what_it_is_made_with() -> None:
    """Outside carg/gtm, only finetune and training touch torch and its kin, and within functions alone."""
    for module, tree in TREES.items():
        if module.partition(".")[0] != "gtm":
            late = {name.partition(".")[0] for name in imported(tree)} & TRAINS
            assert late == set() or module in ("finetune", "training"), module
            assert not {name.partition(".")[0] for name in imported(at_load(tree))} & TRAINS, module


def test_what_is_looked_for_is_found() -> None:
    """Late imports, packages, names of modules and of functions; rows of modules, of packages, of what is in none."""
    tree = ast.parse("import torch\nfrom carg.world import run\ndef late():\n    from carg.cli import main\n")

    assert needs(tree) == {"world.run", "cli"}
    assert needs(at_load(tree)) == {"world.run"}
    assert list(imported(at_load(tree))) == ["torch", "carg.world.run"]
    rows = [row_of(name) for name in ("errors", "stats", "world.run", "stats.leaks", "cli")]
    assert rows == sorted(rows)
    assert row_of("nosuch.thing") == -1


def loaded(*words: str) -> set[str]:
    """The heavy packages that a command loads; it must end well."""
    code = (
        "import sys\nfrom carg.cli import main\nsys.argv = ['carg', *sys.argv[1:]]\n"
        "try: main()\nexcept SystemExit as done: assert not done.code, done.code\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split()) & HEAVY


@pytest.mark.parametrize("words", ["--help", "finetune --help", "domains draft --help"])
def test_help_loads_nothing_heavy(words: str) -> None:
    """So that a look at the help takes no seconds."""
    assert loaded(*words.split()) == set()

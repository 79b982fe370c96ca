"""results.json and table.md: all that a programme has found so far, for people and for docs/results.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def write(work: Path, out: Path) -> None:
    """Write both files from the results of the steps that are done."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted((work / "results").glob("*.json"))}
    (out / "results.json").write_text(json.dumps(found, indent=1))
    made = {name: one["result"] for name, one in found.items()}
    parts = [show(made[name]) for name, show in PARTS.items() if name in made and "failed" not in made[name]]
    failed = [f"- {name} failed: {one['failed'][-300:]}" for name, one in made.items() if "failed" in one]
    (out / "table.md").write_text("\n\n".join([*parts, *failed]) + "\n")


def _table(title: str, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    lines = [columns, ("---",) * len(columns), *rows]
    return f"### {title}\n\n" + "\n".join(f"| {' | '.join(map(_show, line))} |" for line in lines)


def _show(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _environment(made: Any) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in made["packages"].items())
    where = f"{made['gpu'] or 'no GPU'}, {made['cores']} cores, Python {made['python']}, CUDA {made['cuda']}"
    return f"Commit {made['commit'][:12]}, {where}; {packages}. Command: `{made['command']}`."


def _parity(made: Any) -> str:
    rows = [
        (name, *(one[what] for what in ("out", "query", "key", "value")), "yes" if one["passes"] else "NO")
        for name, one in made["paths"].items()
    ]
    rows.append(("packed against alone", made["packed"]["relative"], "", "", "", made["packed"]["dtype"]))
    columns = ("path", "output", "grad query", "grad key", "grad value", "passes")
    return _table("Largest relative difference from exact attention", columns, rows)


def _speed(made: Any) -> str:
    rows = [
        (
            one["preset"],
            one["row_tokens"],
            "compiled" if one["compiled"] else "eager",
            *(("-", "-", "-") if "error" in one else (one["tokens_per_s"], _share(one["mfu"]), one["memory_gb"])),
            one.get("error", ""),
        )
        for one in made
    ]
    columns = ("shape", "row tokens", "layers", "tokens/s", "MFU", "peak GB", "note")
    return _table("Training speed, random weights, whole optimizer steps", columns, rows)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _corpus(made: Any) -> str:
    rows = []
    for stage, one in made.items():
        counts = {name: count for name, count in one["counts"].items() if "/" not in name or name.endswith("/kept")}
        rows.append((stage, one["seconds"], ", ".join(f"{name} {count:,}" for name, count in counts.items())))
    return _table("Corpus, made beside the GPU steps", ("stage", "seconds", "made"), rows)


def _train(made: Any) -> str:
    report = made["report"]
    rows: list[tuple[Any, ...]] = [
        (name, report[name])
        for name in ("parameters", "steps", "tokens", "supervised", "elapsed_s", "tokens_per_s", "loss", "accuracy")
    ]
    for one in report["evals"]:
        rows.append((f"{one['split']}: loss", one["loss"]))
        rows.append((f"{one['split']}: token accuracy", one["accuracy"]))
    return _table("The model from scratch", ("what", "value"), rows)


def _decode(made: Any) -> str:
    names = ("batch", "prefix", "grammar", "exchanges_per_s", "tokens_per_s", "read_share", "cut_share")
    return _table("Batched decoding", names, [tuple(one[name] for name in names) for one in made])


def _evaluate(made: Any) -> str:
    shown = f"```\n{made['table'].rstrip()}\n```"
    return f"### On tools and domains it never saw\n\n{shown}"


PARTS = {
    "environment": _environment,
    "parity": _parity,
    "speed": _speed,
    "corpus": _corpus,
    "train": _train,
    "decode": _decode,
    "evaluate": _evaluate,
}

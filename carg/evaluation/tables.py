"""The report of an evaluation as tables: shares by backend and split, intervals and speed, differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from carg.stats import Table

COLUMNS = ("format", "schema", "recall", "false_alarms", "code", "field", "facts", "bodies", "probes", "obeys", "truth")


def show_report(report: Mapping[str, Any]) -> list[Table]:
    """The report as tables: shares in per cent of each backend and split; with --compare, differences."""
    parts = ["all", *report["sizes"]] if len(report["sizes"]) > 1 else list(report["sizes"])
    rows = [
        (
            _short(backend),
            _plain(part),
            measures[part]["exact"]["n"],
            *(_percent(measures[part].get(name)) for name in COLUMNS),
        )
        for part in parts
        for backend, measures in ((name, found["measures"]) for name, found in report["backends"].items())
    ]
    heads = ("backend", "split", "n", *(name.replace("_", " ") for name in COLUMNS))
    notes = "Per cent; every call comes after true answers. Intervals are in the JSON, those of truth below."
    tables = [Table("Agreement with the truth, on the same items", heads, tuple(rows), notes), _sureness(report, parts)]
    return [*tables, *([_compared(report, parts)] if "differences" in report else [])]


def _sureness(report: Mapping[str, Any], parts: Sequence[str]) -> Table:
    rows = []
    if any(found["unanswered"] for found in report["backends"].values()):
        parts = (*parts, "answered")
    for backend, found in report["backends"].items():
        took = (found["speed"].get(name) for name in ("p50_s", "p95_s", "calls_per_s"))
        sure = (_interval(found["measures"][part].get("truth")) for part in parts)
        rows.append((_short(backend), *sure, found["unanswered"], *took))
    heads = ("backend", *(f"truth, {_plain(part)}" for part in parts), "unanswered", "p50 s", "p95 s", "calls/s")
    missing = [
        f"{_short(backend)}, unanswered: {found['why_unanswered']}"
        for backend, found in report["backends"].items()
        if found["unanswered"]
    ]
    notes = "\n".join([f"Intervals: {report['intervals']}.", *missing])
    return Table("How sure (95 %), and how fast", heads, tuple(rows), notes)


def _short(backend: str) -> str:
    """The end of a long path: what tells one model from another."""
    kind, _, folder = backend.partition(":")
    return f"gtm:{'/'.join(folder.split('/')[-2:])}" if kind == "gtm" else backend


def _plain(split: str) -> str:
    return split.removeprefix("test_")


def _compared(report: Mapping[str, Any], parts: Sequence[str]) -> Table:
    first = next(iter(report["backends"]))
    rows = [
        (
            _short(backend),
            _plain(part),
            *(_interval(found[part].get(name)) for name in ("recall", "false_alarms", "facts", "truth")),
        )
        for part in parts
        for backend, found in report["differences"].items()
    ]
    heads = ("backend", "split", "recall", "false alarms", "facts", "truth")
    return Table(f"Points above {_short(first)}, on the same items (95 %)", heads, tuple(rows))


def _percent(found: Mapping[str, Any] | None) -> float | None:
    return None if found is None else round(100 * found["value"], 1)


def _interval(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    value = f"{100 * found['value']:.1f}"
    return value if found["low"] is None else f"{value} [{100 * found['low']:.1f}, {100 * found['high']:.1f}]"

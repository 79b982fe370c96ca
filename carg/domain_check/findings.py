"""What a check finds: faults, warnings and tables of one domain file, and how a person reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from carg.world.model import Operation

Table = dict[str, str]
"""Label -> what is said of it."""


@dataclass(frozen=True, slots=True)
class DomainReport:
    """The outcome of checking one file. Faults make the command fail; warnings are rates an author should look at."""

    path: Path
    faults: list[str]
    warnings: list[str]
    tables: Mapping[str, Table]

    @property
    def is_sound(self) -> bool:
        """Whether there is no fault."""
        return not self.faults


@dataclass(slots=True)
class Findings:
    """Collects the findings on one file, each once."""

    file: str
    faults: dict[str, None] = field(default_factory=dict)
    warnings: dict[str, None] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)

    def fault(self, entry: str, message: str) -> None:
        """Note what makes the file unusable."""
        self.faults[f"{self.file}: [{entry}] {message}"] = None

    def warn(self, entry: str, message: str) -> None:
        """Note what an author should look at."""
        self.warnings[f"{self.file}: [{entry}] {message}"] = None

    def row(self, table: str, label: str, text: str) -> None:
        """Add one line to a table."""
        self.tables.setdefault(table, {})[label] = text

    def report(self, path: Path) -> DomainReport:
        """All of it."""
        return DomainReport(path, list(self.faults), list(self.warnings), self.tables)


def entry_of(operation: Operation) -> str:
    """Where the file says what the operation does."""
    if operation.kind == "action":
        return f"actions.{operation.name}"
    if operation.kind in ("compute", "sweep", "solve"):
        return f"formulas.{operation.subject}"
    return f"{'tables' if operation.kind == 'table' else 'resources'}.{operation.subject}"


def say_report(report: DomainReport) -> str:
    """The report as lines of text: tables, then warnings, then faults, then the verdict."""
    lines = [f"== {report.path}"]
    for title, table in report.tables.items():
        lines.append(f"-- {title}")
        width = max(len(label) for label in table)
        lines += [f"   {label:<{width}}  {text}" for label, text in table.items()]
    lines += [f"warning: {text}" for text in report.warnings]
    lines += [f"FAULT: {text}" for text in report.faults]
    counts = f"{len(report.faults)} faults, {len(report.warnings)} warnings"
    lines.append(f"{report.path}: {'sound' if report.is_sound else 'NOT SOUND'}; {counts}")
    return "\n".join(lines)

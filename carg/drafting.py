"""`carg domains draft`: an LLM writes a world, the loader and the checker judge it, until nothing is left to say.

Whatever the model writes is data: parsed, typed and executed in the closed language like every other domain file. What
passes is marked `draft = true`: nobody has read it yet.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from carg.asking import Ask
from carg.domain_check import check_domain
from carg.domains import list_seeds, read_domain
from carg.errors import ConfigError, DomainError, TooManyFailures
from carg.records import Json
from carg.stages.by_model import Road, open_asks
from carg.store import write_atomic

MOST_COMPLAINTS, LONGEST_COMPLAINT = 30, 300
"""As many as a model mends at a time; those behind them often follow from these."""
NOTHING = "nothing yet: write it whole"

_MARK = "draft = true"


@dataclass(frozen=True, slots=True)
class Drafted:
    """The file that passed, and how many faults each round had; the last has none."""

    path: Path
    faults: tuple[int, ...]


OnRound = Callable[[int, list[str]], None]
"""Hears the number of a round, from 1, and its faults."""


async def draft_domain(
    title: str,
    path: Path,
    road: Road,
    *,
    category: str = "",
    rounds: int = 12,
    services: int = 40,
    on_round: OnRound = lambda _round, _faults: None,
) -> Drafted:
    """A world for the domain of that title, or of that name in the list of domains, written to `path`.

    Replies are journalled in a hidden folder beside the file, so the same call goes on after TryLater or a kill without
    paying twice. Raises ConfigError where the file is there already, TooManyFailures when the rounds are over: the last
    file then lies beside as `.unfinished`.
    """
    if path.exists():
        raise ConfigError(f"{path}: is there already", "choose another --out, or move it away")
    told = describe_domain(title, category)
    work = path.parent / f".{path.stem}.draft"
    async with open_asks(road, work) as asks:
        text, faults, counts = NOTHING, list[str](), list[int]()
        for number in range(1, rounds + 1):
            text = await _write(asks[road.backend], told, path.stem, text, faults, number)
            faults = judge_draft(text, work / path.name, services)
            counts.append(len(faults))
            on_round(number, faults)
            if not faults:
                write_atomic(path, [text.encode()])
                return Drafted(path, tuple(counts))
    beside = path.with_name(f"{path.name}.unfinished")
    write_atomic(beside, [text.encode()])
    said = "\n".join(faults[:MOST_COMPLAINTS])
    raise TooManyFailures(
        f"{title}: {len(faults)} faults after {rounds} rounds:\n{said}", f"mend {beside}, or give more --rounds"
    )


def describe_domain(title: str, category: str) -> dict[str, Json]:
    """What is known of a domain: the seed of that name or title where the list has one, else the title alone."""
    for seed in list_seeds():
        if title.lower() in (seed.name, seed.title.lower()):
            shown: dict[str, Json] = {"title": seed.title, "category": seed.category_title}
            return shown | {"summary": seed.summary, "topics": list(seed.topics)}
    return {"title": title, "category": category or "Drafts"}


def judge_draft(text: str, path: Path, services: int) -> list[str]:
    """The faults that loader and checker find in the text, which is left at `path`."""
    write_atomic(path, [text.encode()])
    try:
        read_domain(path)
        faults = check_domain(path, services=services).faults
    except DomainError as fault:
        faults = fault.message.split("\n")
    return list(dict.fromkeys(fault.replace(str(path), path.name) for fault in faults))


def name_of(title: str) -> str:
    """The name that a file of this title has."""
    name = re.sub(r"\W+", "_", title.strip().lower()).strip("_")[:48]
    if not re.match(r"[a-z]", name):
        raise ConfigError(f"no file name follows from {title!r}", "give --out FILE")
    return name


async def _write(ask: Ask, told: dict[str, Json], name: str, text: str, faults: list[str], number: int) -> str:
    lines = [f"- {fault[:LONGEST_COMPLAINT]}" for fault in faults[:MOST_COMPLAINTS]]
    if len(faults) > MOST_COMPLAINTS:
        lines.append(f"- and {len(faults) - MOST_COMPLAINTS} more")
    variables = {"domain": told, "name": name, "before": text, "complaints": "\n".join(lines) or "nothing yet"}
    value = await ask("draft", variables, sample=number)
    return _marked(str(value["file"]))


def _marked(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if not re.match(r"draft\s*=", line)]
    return "\n".join([_MARK, *lines]) + "\n"

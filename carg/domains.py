"""The list of domains: where their files are, and the seed that each begins with.

A file is `<category>/<domain>.toml`, or a TOML file of the user's own. Here only title, category, summary,
topics and held_out are read; the world that may follow them belongs to `carg.world`.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from carg.errors import DomainError

FILE_BYTES = 512_000
"""Largest domain file: over ten times a full world, and still read in a fraction of a second."""
LINE_LENGTH = 4000
"""Longest line: a key of thousands of dots takes tomllib minutes, and nobody can review such a line."""
SUMMARY_LENGTH = (80, 240)
TOPIC_COUNT = (6, 10)
TOPIC_WORDS = (1, 6)
TITLE_LENGTH = (2, 60)
SEED_KEYS = ("title", "category", "summary", "topics", "held_out")
WORLD_KEYS = ("resources", "formulas", "tables", "services")
"""A file with any of these has a world; its other keys are then the world's to judge."""
NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")


@dataclass(frozen=True, slots=True)
class Seed:
    """What is known of a domain before anyone builds tools for it."""

    name: str
    """Name of the file, without `.toml`."""
    category: str
    """Name of the folder."""
    category_title: str
    title: str
    summary: str
    topics: tuple[str, ...]
    held_out: bool
    """True where the domain is kept for testing on fields that training never saw."""
    path: Path
    has_world: bool


def shipped_folder() -> Path:
    """The domains that come with carg."""
    installed = Path(__file__).parent / "_data" / "domains"
    return installed if installed.is_dir() else Path(__file__).parent.parent / "domains"


def domain_folder() -> Path:
    """The folder of CARG_DOMAINS, else the one shipped with carg. Raises DomainError where it is no folder."""
    if named := os.environ.get("CARG_DOMAINS"):
        if Path(named).is_dir():
            return Path(named)
        raise DomainError(f"CARG_DOMAINS is {named!r}, which is no folder", "name a folder of <category>/<domain>.toml")
    return shipped_folder()


def list_seeds(folder: Path | str | None = None) -> tuple[Seed, ...]:
    """Every seed of a folder (or of one TOML file), sorted by category and name.

    Raises DomainError with all faults of all files.
    """
    paths = _files(folder)
    faults, seeds = _doubled(paths), []
    for path in paths:
        data, found = _judged(path)
        faults += found
        if not found:
            seeds.append(_seed(path, data))
    if faults:
        raise DomainError("\n".join(faults), "mend these entries; `carg domains check FILE` judges one file")
    return tuple(seeds)


def find_seed(name: str | Path, folder: Path | str | None = None) -> Seed:
    """The seed of a domain, by its name or by the path of a TOML file; other files are not read.

    Raises DomainError for an unknown name (with the nearest ones), for a name that two files have, for any fault.
    """
    name = str(name)
    if name.endswith(".toml"):
        return list_seeds(name)[0]
    paths = _files(folder)
    if found := [path for path in paths if path.stem == name]:
        if faults := _doubled(found):
            raise DomainError(faults[0], "rename one of the two")
        return list_seeds(found[0])[0]
    plain = re.sub(r"\W+", "_", name.strip().lower())
    close = difflib.get_close_matches(plain, sorted({path.stem for path in paths}), 3)
    hint = (
        f"did you mean {' or '.join(map(repr, close))}?"
        if close
        else f"`carg domains list` names the {len(paths)} that are known"
    )
    raise DomainError(f"domain {name!r} is unknown", hint)


def choose_seeds(names: Sequence[str], *, worlds: bool) -> list[Seed]:
    """The named domains, files and folders, or all: of a folder and of all, those with a world where `worlds`.

    Raises DomainError with the faults of all that were named.
    """
    if not names:
        return [seed for seed in list_seeds() if seed.has_world or not worlds]
    chosen, faults = [], list[DomainError]()
    for name in names:
        try:
            many = Path(name).is_dir()
            found = list_seeds(name) if many else [find_seed(name)]
            chosen += [seed for seed in found if seed.has_world or not (worlds and many)]
        except DomainError as fault:
            faults.append(fault)
    if faults:
        raise DomainError("\n".join(fault.message for fault in faults), faults[0].hint)
    return chosen


def file_digests(seeds: Sequence[Seed]) -> dict[str, str]:
    """What tells that the file of a world was changed: what is executed is the file as it is now."""
    return {item.name: hashlib.sha256(item.path.read_bytes()).hexdigest()[:16] for item in seeds if item.has_world}


def keep_files(folder: Path, seeds: Sequence[Seed]) -> None:
    """Copies of worlds that do not come with carg, so that every later stage finds them."""
    from carg.store import write_atomic

    shipped = shipped_folder().resolve()
    for seed in seeds:
        if seed.has_world and shipped not in seed.path.resolve().parents:
            write_atomic(folder / "domains" / seed.category / seed.path.name, [seed.path.read_bytes()])


def seed_faults(path: Path | str) -> list[str]:
    """Every fault in the seed part of a file, or of all files of a folder; [] where all is well.

    Each fault names file and entry and says what is allowed. Raises DomainError where there is no such file.
    """
    paths = _files(path)
    return _doubled(paths) + [fault for each in paths for fault in _judged(each)[1]]


def read_domain(path: Path | str) -> dict[str, Any]:
    """The tables of a domain file, as TOML has them. Raises DomainError naming file and line."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_BYTES + 1)
        if len(raw) > FILE_BYTES:
            raise DomainError(f"{path}: over {FILE_BYTES // 1000} kB", "split the domain in two")
        text = raw.decode("utf-8-sig")
        if long := [n for n, line in enumerate(text.splitlines(), 1) if len(line) > LINE_LENGTH]:
            raise DomainError(
                f"{path}: line {long[0]} has over {LINE_LENGTH} characters", "break it: lists may span lines"
            )
        return tomllib.loads(text)
    except OSError as fault:
        raise DomainError(f"{path}: cannot be read: {fault.strerror}", "name a TOML file that exists") from fault
    except UnicodeDecodeError as fault:
        line = raw.count(b"\n", 0, fault.start) + 1
        raise DomainError(f"{path}: not UTF-8 at line {line}", "save the file as UTF-8") from fault
    except RecursionError as fault:
        raise DomainError(f"{path}: nested too deeply", "a domain needs a few levels only") from fault
    except ValueError as fault:
        # tomllib names no line where the text ends too early
        where = str(fault).replace("end of document", f"line {len(text.splitlines())}, the end of the file")
        raise DomainError(f"{path}: not TOML: {where}", "mend the line; strings stand in double quotes") from fault


def _files(folder: Path | str | None) -> list[Path]:
    """The TOML files of a folder and of the folders in it, sorted by category and name; or the one file named."""
    root = domain_folder() if folder is None else Path(folder)
    if not root.is_dir():
        return [root]
    if paths := [*root.glob("*.toml"), *root.glob("*/*.toml")]:
        return sorted(paths, key=lambda path: (_category(path), path.stem))
    raise DomainError(f"{root}: holds no domain", "a domain is a file <category>/<domain>.toml")


def _category(path: Path) -> str:
    return path.absolute().parent.name


def _doubled(paths: Iterable[Path]) -> list[str]:
    """A fault for each name that several files have: tools are known by `domain/service/operation`."""
    by_name = groupby(sorted(paths, key=lambda path: (path.stem, str(path))), key=lambda path: path.stem)
    same = [(name, list(group)) for name, group in by_name]
    return [f"{group[1]}: {group[0]} is named {name!r} too" for name, group in same if len(group) > 1]


def _judged(path: Path) -> tuple[dict[str, Any], list[str]]:
    """What a file holds, and the faults of its seed part."""
    try:
        data = read_domain(path)
    except DomainError as fault:
        return {}, [fault.message]
    return data, [f"{path}: [{entry}] {message}" for entry, message in _faults(path, data)]


def _seed(path: Path, data: dict[str, Any]) -> Seed:
    return Seed(
        name=path.stem,
        category=_category(path),
        category_title=data["category"],
        title=data["title"],
        summary=data["summary"],
        topics=tuple(data["topics"]),
        held_out=data.get("held_out", False),
        path=path,
        has_world=_has_world(data),
    )


def _has_world(data: dict[str, Any]) -> bool:
    return any(key in data for key in WORLD_KEYS)


def _faults(path: Path, data: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Entry and fault, for everything wrong with the seed part of a file."""
    if path.suffix != ".toml" or not NAME.fullmatch(path.stem):
        yield "file name", f"{path.name!r} must be lower case letters, digits and _ (at most 48), then .toml"
    yield from _text_faults("title", data.get("title"), TITLE_LENGTH)
    yield from _text_faults("category", data.get("category"), TITLE_LENGTH)
    yield from _text_faults("summary", data.get("summary"), SUMMARY_LENGTH)
    yield from _topic_faults(data.get("topics"))
    if not isinstance(data.get("held_out", False), bool):
        yield "held_out", f"must be true or false, {_not(data['held_out'])}"
    if not _has_world(data):
        yield from ((key, _unknown(key)) for key in data if key not in SEED_KEYS)


def _unknown(key: str) -> str:
    close = difflib.get_close_matches(key, SEED_KEYS + WORLD_KEYS, 1)
    meant = f"did you mean {close[0]!r}?" if close else f"a seed has {', '.join(SEED_KEYS)}"
    return f"is an unknown key; {meant}"


def _text_faults(entry: str, value: Any, length: tuple[int, int]) -> Iterator[tuple[str, str]]:
    least, most = length
    if not isinstance(value, str):
        yield entry, f"must be a text of {least} to {most} characters, {_not(value)}"
    elif not least <= len(value) <= most:
        yield entry, f"must have {least} to {most} characters, not {len(value)}"
    elif value != value.strip() or not value.isprintable():
        yield entry, "must be one line, without spaces around it"


def _topic_faults(topics: Any) -> Iterator[tuple[str, str]]:
    least, most = TOPIC_COUNT
    if not isinstance(topics, list):
        yield "topics", f"must be a list of {least} to {most} texts, {_not(topics)}"
        return
    if not least <= len(topics) <= most:
        yield "topics", f"must be {least} to {most}, not {len(topics)}"
    for place, topic in enumerate(topics, 1):
        if not isinstance(topic, str):
            yield f"topics, number {place}", f"must be a text, {_not(topic)}"
        elif not TOPIC_WORDS[0] <= len(topic.split()) <= TOPIC_WORDS[1] or not topic.isprintable():
            yield f"topics, number {place}", f"must be {TOPIC_WORDS[0]} to {TOPIC_WORDS[1]} words, not {topic[:80]!r}"
    spoken = Counter(topic.casefold() for topic in topics if isinstance(topic, str))
    yield from (
        ("topics", f"must be distinct, but {topic[:80]!r} stands {n} times") for topic, n in spoken.items() if n > 1
    )


def _not(value: Any) -> str:
    return "but is missing" if value is None else f"not {type(value).__name__}"

"""Files of a run that survive: whole or not there, in order, named when broken.

Record files are written under a temporary name, synced and renamed; a manifest is written last, so its presence means
that a stage is whole. What is appended to as a run goes on is a `journal`.
What the files mean lies in `records` and in the stages; nothing here knows of models or worlds.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import orjson

from carg.encoding import from_json, to_json
from carg.errors import ConfigError, RecordError, StoreError, TryLater

Record = TypeVar("Record")

_HINTS = {
    errno.ENOSPC: "the disk is full: free some space, then run the same command again",
    errno.EDQUOT: "the disk quota is used up: free some space, then run the same command again",
    errno.EFBIG: "the file system or a limit (ulimit -f) allows no larger file",
    errno.EACCES: "give this user the right to write there, or choose another folder",
    errno.EPERM: "give this user the right to write there, or choose another folder",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.ENOENT: "check the path",
    errno.EEXIST: "a file has that name already: move it, or choose another folder",
    errno.ENOTDIR: "a part of the path is a file where a folder is needed",
    errno.EISDIR: "the path is a folder where a file is needed",
}


def write_atomic(path: Path, chunks: Iterable[bytes]) -> None:
    """`path` holds all chunks, or what it held before: temporary name, sync, rename, sync of the folder.

    Raises StoreError (disk full, no permission); the temporary file is gone then.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.writelines(chunks)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        _sync_folder(path.parent)
    except OSError as fault:
        _remove(part)
        raise store_error("write", path, fault) from fault
    except BaseException:
        _remove(part)
        raise


def write_records(path: Path, records: Iterable[object]) -> int:
    """How many records were written to `path`, one line of JSON each; atomic."""
    n_written = 0

    def lines() -> Iterator[bytes]:
        nonlocal n_written
        for record in records:
            n_written += 1
            yield to_json(record) + b"\n"

    write_atomic(path, lines())
    return n_written


def read_records(kind: type[Record], path: Path) -> Iterator[Record]:
    """The records of a JSONL file in order. Raises StoreError naming file and line of a broken one."""
    for number, line in enumerate(read_lines(path), start=1):
        try:
            yield from_json(kind, line)
        except RecordError as fault:
            raise StoreError(f"{path}, line {number}: {fault.message}", fault.hint) from fault


def write_part(folder: Path, stem: str, number: int, records: Iterable[object]) -> int:
    """How many records went to `stem-<number>.jsonl` in the folder; atomic, so a part is whole or not there."""
    return write_records(folder / f"{stem}-{number:05d}.jsonl", records)


def read_parts(kind: type[Record], folder: Path, stem: str) -> Iterator[Record]:
    """The records of all parts of a stem, in the order of the numbers."""
    for path in parts(folder, stem):
        yield from read_records(kind, path)


def parts(folder: Path, stem: str) -> list[Path]:
    """The part files of a stem, in the order of their numbers."""
    found = (path for path in folder.glob(f"{stem}-*.jsonl") if path.stem[len(stem) + 1 :].isdigit())
    return sorted(found, key=lambda path: int(path.stem[len(stem) + 1 :]))


@contextlib.contextmanager
def locked(folder: Path, name: str = ".lock") -> Iterator[None]:
    """Only one run works in the folder; the lock falls with the process. Raises TryLater when another holds it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fd = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as fault:
        raise store_error("lock", folder, fault) from fault
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as fault:
        os.close(fd)
        raise TryLater(f"{folder}: another run is at work here", "wait for it, or choose another --run") from fault
    try:
        yield
    finally:
        os.close(fd)


def write_manifest(folder: Path, stage: str, content: Mapping[str, Any]) -> None:
    """The stage is whole from here on; write it after everything else. `content` is counts, digests and the like."""
    write_atomic(_manifest(folder, stage), [orjson.dumps(content, option=orjson.OPT_INDENT_2), b"\n"])


def read_manifest(folder: Path, stage: str) -> dict[str, Any]:
    """What the finished stage wrote. Raises StoreError when it is not finished."""
    path = _manifest(folder, stage)
    if not path.exists():
        raise StoreError(f"{folder}: {stage} is not finished (no {path.name})", f"run `carg {stage}` on this run first")
    return _read_object(path)


def is_done(folder: Path, stage: str) -> bool:
    """The stage wrote its manifest here."""
    return _manifest(folder, stage).exists()


def unfinish(folder: Path, stage: str) -> None:
    """The stage is to be done again: its manifest goes first, so that no kill leaves an old one with new files."""
    _manifest(folder, stage).unlink(missing_ok=True)


def check_fingerprint(folder: Path, stage: str, settings: Mapping[str, Any]) -> None:
    """The stage goes on with the settings it began with; the first call stores them.

    Put in what changes the records and leave out what does not (widths, timeouts, budgets). Raises ConfigError
    naming every changed field.
    """
    path = folder / f"{stage}.settings.json"
    now = orjson.loads(orjson.dumps(settings))
    if not path.exists():
        write_atomic(path, [orjson.dumps(now, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS), b"\n"])
        return
    was, now = _flat(_read_object(path)), _flat(now)
    changed = [name for name in sorted(was.keys() | now.keys()) if was.get(name) != now.get(name)]
    if changed:
        listed = "; ".join(f"{name}: {was.get(name)!r} -> {now.get(name)!r}" for name in changed)
        raise ConfigError(
            f"{folder}: {stage} began with other settings: {listed}",
            "put them back, or give --fresh: it sets the old folder aside and starts anew",
        )


def set_aside(folder: Path) -> Path | None:
    """The new name of the folder (`name.1`, `name.2`, ...), or None where there was none."""
    if not folder.exists():
        return None
    number = 1
    while (aside := folder.with_name(f"{folder.name}.{number}")).exists():
        number += 1
    try:
        folder.rename(aside)
    except OSError as fault:
        raise store_error("set aside", folder, fault) from fault
    return aside


def run_digest(ids: Mapping[str, Iterable[str]]) -> str:
    """sha256 (hex) over the sorted ids under each heading: a record type, or a config and split of rows."""
    whole = hashlib.sha256()
    for heading in sorted(ids):
        whole.update(f"#{heading}\n".encode())
        for name in sorted(ids[heading]):
            whole.update(f"{name}\n".encode())
    return whole.hexdigest()


def _manifest(folder: Path, stage: str) -> Path:
    return folder / f"{stage}.manifest.json"


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = orjson.loads(path.read_bytes())
    except OSError as fault:
        raise store_error("read", path, fault) from fault
    except orjson.JSONDecodeError as fault:
        raise StoreError(f"{path}: not JSON: {fault}", "give --fresh to start anew") from fault
    if not isinstance(content, dict):
        raise StoreError(f"{path}: not a JSON object", "give --fresh to start anew")
    return content


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict) or (not value and prefix):
        return {prefix: value}
    return {
        name: item
        for key in value
        for name, item in _flat(value[key], f"{prefix}.{key}" if prefix else str(key)).items()
    }


def read_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file as they are. Raises StoreError."""
    try:
        with path.open("rb") as file:
            yield from file
    except OSError as fault:
        raise store_error("read", path, fault) from fault


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def store_error(doing: str, path: Path, fault: OSError) -> StoreError:
    """What went wrong with a file, and how to mend it: "cannot append to PATH: ..."."""
    hint = _HINTS.get(fault.errno or 0, "check the disk and the folder, then run the same command again")
    return StoreError(f"cannot {doing} {path}: {os.strerror(fault.errno or 0)}", hint)

"""Files of a run that survive: whole or not there, in order, named when broken.

Record files are written under a temporary name, synced and renamed; a journal is appended to and never loses
a line that `append` returned from; a manifest is written last, so its presence means that a stage is whole.
What the files mean lies in `records` and in the stages; nothing here knows of models or worlds.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import orjson

from carg.encoding import from_json, to_json
from carg.errors import ConfigError, RecordError, StoreError, TryLater

Record = TypeVar("Record")

SYNC_EVERY_S = 0.05
SYNC_EVERY_RECORDS = 200
"""A journal goes to the disk after 50 ms or 200 records of work: a power cut loses little more, kill -9 nothing."""

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
        raise _store_error("write", path, fault) from fault
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
    for number, line in enumerate(_lines(path), start=1):
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


class Journal:
    """An append-only JSONL file. Opening cuts a tail that a crash tore; there is one writer at a time (`locked`)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            self._end = _whole_length(self._fd)
            os.ftruncate(self._fd, self._end)
        except OSError as fault:
            raise _store_error("open", path, fault) from fault
        self._unsynced = 0
        self._synced_at = time.monotonic()
        self._syncing: Future[None] | None = None
        self._disk = ThreadPoolExecutor(1, "journal")

    def append(self, record: Mapping[str, Any]) -> int:
        """The offset of the record, which no kill of the process can lose any more. Raises StoreError (disk full)."""
        line = orjson.dumps(record) + b"\n"
        start = self._end
        try:
            _write_all(self._fd, line, start)
            self._end += len(line)
            self._unsynced += 1
            if self._unsynced >= SYNC_EVERY_RECORDS or time.monotonic() - self._synced_at >= SYNC_EVERY_S:
                self._begin_sync()
        except OSError as fault:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._end)
            raise _store_error("append to", self.path, fault) from fault
        return start

    def sync(self) -> None:
        """Everything appended is on the disk."""
        if self._syncing is not None:
            self._syncing.result()
        os.fdatasync(self._fd)
        self._unsynced, self._synced_at = 0, time.monotonic()

    def _begin_sync(self) -> None:
        """The disk works on while the run goes on: waiting 5 ms for it, 40 times a second, held up every call."""
        if self._syncing is not None and not self._syncing.done():
            return
        if self._syncing is not None:
            self._syncing.result()
        self._unsynced, self._synced_at = 0, time.monotonic()
        self._syncing = self._disk.submit(os.fdatasync, self._fd)

    def entries(self) -> Iterator[dict[str, Any]]:
        """The records in the order they were appended. Raises StoreError naming the line of a broken one."""
        return (record for _, record in self.scan())

    def scan(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """(offset, record) in order, for an index that need not hold the records."""
        return scan_journal(self.path)

    def at(self, offset: int) -> dict[str, Any]:
        """The record that `append` put at this offset."""
        return read_entry(self._fd, offset, self.path)

    def close(self) -> None:
        """Everything is on the disk, and the file is closed."""
        if self._fd >= 0:
            self._disk.shutdown()
            self.sync()
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def scan_journal(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(offset, record) of a journal that need not be ours to write; a torn tail is passed over."""
    offset = 0
    for number, line in enumerate(_lines(path), start=1):
        if not line.endswith(b"\n"):
            return
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError as fault:
            hint = "delete that line by hand; what it answered is asked again"
            raise StoreError(f"{path}, line {number}: not JSON: {fault}", hint) from fault
        yield offset, record
        offset += len(line)


def read_entry(fd: int, offset: int, path: Path) -> dict[str, Any]:
    """The record that stands at an offset of an open journal; `path` names it in errors."""
    line = b""
    while b"\n" not in line:
        block = os.pread(fd, 8192, offset + len(line))
        if not block:
            raise StoreError(f"{path}: no record at byte {offset}", "the file changed while it was in use")
        line += block
    record: dict[str, Any] = orjson.loads(line[: line.index(b"\n")])
    return record


@contextlib.contextmanager
def locked(folder: Path, name: str = ".lock") -> Iterator[None]:
    """Only one run works in the folder; the lock falls with the process. Raises TryLater when another holds it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fd = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as fault:
        raise _store_error("lock", folder, fault) from fault
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
        raise _store_error("set aside", folder, fault) from fault
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
        raise _store_error("read", path, fault) from fault
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


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from file
    except OSError as fault:
        raise _store_error("read", path, fault) from fault


def _whole_length(fd: int) -> int:
    """Bytes up to and with the last newline, searched from the end."""
    end = os.fstat(fd).st_size
    while end > 0:
        start = max(0, end - 65536)
        found = os.pread(fd, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _write_all(fd: int, data: bytes, offset: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(fd, data[done:], offset + done)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _store_error(doing: str, path: Path, fault: OSError) -> StoreError:
    hint = _HINTS.get(fault.errno or 0, "check the disk and the folder, then run the same command again")
    return StoreError(f"cannot {doing} {path}: {os.strerror(fault.errno or 0)}", hint)

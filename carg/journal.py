"""Journals: files that are appended to while a run goes on, and never lose a line that `append` returned from."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from carg.errors import StoreError
from carg.store import read_lines, store_error

SYNC_EVERY_S = 0.05
SYNC_EVERY_RECORDS = 200
"""A journal goes to the disk after 50 ms or 200 records of work: a power cut loses little more, kill -9 nothing."""


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
            raise store_error("open", path, fault) from fault
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
            raise store_error("append to", self.path, fault) from fault
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
    for number, line in enumerate(read_lines(path), start=1):
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

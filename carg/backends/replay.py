"""Answers from the journal of a recorded run: no network, no cost, the same text for the same question."""

from __future__ import annotations

import os
from pathlib import Path

from carg.backends import Reply, Request
from carg.errors import BackendError
from carg.journal import read_entry, scan_journal


class Replay:
    """The replies of one journal, found by the digest of the request; whoever answered then does not matter."""

    def __init__(self, path: Path) -> None:
        """Raises StoreError when the file cannot be read."""
        self.path = path
        self._offsets = {entry["request"]: offset for offset, entry in scan_journal(path)}
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    async def complete(self, request: Request) -> Reply:
        """The recorded reply, at no cost. Raises BackendError naming prompt and digest when there is none."""
        offset = self._offsets.get(request.digest)
        if offset is None:
            raise BackendError(
                f"{self.path}: no reply to prompt {request.prompt!r}, request {request.digest}",
                "it was recorded with other prompts, seeds or settings: record it again",
            )
        entry = read_entry(self._fd, offset, self.path)
        told = {name: entry[name] for name in ("text", "finish_reason", "tokens_in", "tokens_out", "model")}
        return Reply(**told, cost=0.0, thought=entry.get("thought", False))

    def close(self) -> None:
        """Closes the journal."""
        os.close(self._fd)

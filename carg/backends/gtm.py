"""A trained tool model on this machine: calls that wait at the same time are decoded as one batch."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from carg.backends import Reply, Request

MAX_BATCH = 64
"""Rows that are decoded together; more would wait for the longest of them without being faster."""


class Gtm:
    """A GTM in a folder, loaded at the first request."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._gtm: Any = None
        self._waiting: list[tuple[Request, asyncio.Future[str]]] = []
        self._worker: asyncio.Task[None] | None = None

    async def complete(self, request: Request) -> Reply:
        """The model's answer to messages laid out as `render` lays out rows."""
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, answer))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return Reply(await answer, "stop", 0, 0, 0.0, f"gtm:{self.folder}")

    async def aclose(self) -> None:
        if self._worker is not None:
            await asyncio.gather(self._worker, return_exceptions=True)

    async def _work(self) -> None:
        """Decodes until nobody waits; decoding runs in a thread, so that new requests gather meanwhile."""
        await asyncio.sleep(0)
        while self._waiting:
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            try:
                texts = await asyncio.to_thread(self._decode, [list(request.messages) for request, _ in batch])
            except Exception as fault:
                for _, answer in batch:
                    if not answer.done():
                        answer.set_exception(fault)
                continue
            for (_, answer), text in zip(batch, texts, strict=True):
                if not answer.done():
                    answer.set_result(text)

    def _decode(self, conversations: list[list[Any]]) -> list[str]:
        from carg.gtm.decode import answer, load_gtm

        if self._gtm is None:
            self._gtm = load_gtm(self.folder)
        return list(answer(self._gtm, conversations))

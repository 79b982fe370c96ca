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
        """Waits for the batch that is being decoded."""
        if self._worker is not None:
            await asyncio.gather(self._worker, return_exceptions=True)

    async def _work(self) -> None:
        """Decodes until nobody waits; decoding runs in a thread, so that new requests gather meanwhile."""
        await asyncio.sleep(0)
        while self._waiting:
            settings = _settings(self._waiting[0][0])
            alike = [entry for entry in self._waiting if _settings(entry[0]) == settings][:MAX_BATCH]
            taken = {waiter for _, waiter in alike}
            self._waiting = [entry for entry in self._waiting if entry[1] not in taken]
            try:
                texts = await asyncio.to_thread(self._decode, [request for request, _ in alike], settings)
            except Exception as fault:
                for _, waiter in alike:
                    if not waiter.done():
                        waiter.set_exception(fault)
                continue
            for (_, waiter), text in zip(alike, texts, strict=True):
                if not waiter.done():
                    waiter.set_result(text)

    def _decode(self, requests: list[Request], settings: dict[str, Any]) -> list[str]:
        from carg.gtm.decode import answer, load_gtm

        if self._gtm is None:
            self._gtm = load_gtm(self.folder)
        messages, schemas = [request.messages for request in requests], [request.schema for request in requests]
        return answer(self._gtm, messages, schema=schemas, **settings)


def _settings(request: Request) -> dict[str, Any]:
    """What all answers of a batch have in common."""
    return {
        "max_new_tokens": request.sampling.get("max_tokens", 1024),
        "temperature": request.sampling.get("temperature", 0.0),
        "seed": request.sample,
    }

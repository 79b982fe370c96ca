"""A trained tool model on this machine: calls that wait are decoded together, and later ones join them at any step."""

from __future__ import annotations

import asyncio
from collections import deque
from pathlib import Path
from typing import Any

from carg.backends import Reply, Request


class Gtm:
    """A GTM in a folder, loaded at the first request."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._gtm: Any = None
        self._waiting: deque[tuple[asyncio.Future[Reply], Request]] = deque()
        self._decoding: set[asyncio.Future[Reply]] = set()
        self._worker: asyncio.Task[None] | None = None

    async def complete(self, request: Request) -> Reply:
        """The model's answer to messages laid out as `render` lays out rows; "length" where it was cut."""
        reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.append((reply, request))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await reply

    async def aclose(self) -> None:
        """Waits for what is being decoded."""
        if self._worker is not None:
            await asyncio.gather(self._worker, return_exceptions=True)

    async def _work(self) -> None:
        """Decodes in a thread until nobody waits; a fault of the model reaches all whom it was answering."""
        await asyncio.sleep(0)
        while self._waiting:
            try:
                await asyncio.to_thread(self._decode, asyncio.get_running_loop())
            except Exception as fault:
                if self._gtm is None:  # it cannot be loaded: nobody gets an answer
                    self._decoding.update(reply for reply, _ in self._waiting)
                    self._waiting.clear()
                for reply in self._decoding:
                    if not reply.done():
                        reply.set_exception(fault)
                self._decoding.clear()

    def _decode(self, loop: asyncio.AbstractEventLoop) -> None:
        from carg.gtm.decode import Asked, load_gtm, serve

        def take() -> list[tuple[asyncio.Future[Reply], Any]]:
            taken = []
            while self._waiting:
                reply, request = self._waiting.popleft()
                self._decoding.add(reply)
                most, heat = request.sampling.get("max_tokens", 1024), request.sampling.get("temperature", 0.0)
                taken.append((reply, Asked(request.messages, request.schema, most, heat, request.sample)))
            return taken

        def give(reply: asyncio.Future[Reply], made: Any) -> None:
            loop.call_soon_threadsafe(self._tell, reply, made)

        if self._gtm is None:
            self._gtm = load_gtm(self.folder)
        serve(self._gtm, take, give)

    def _tell(self, reply: asyncio.Future[Reply], made: Any) -> None:
        self._decoding.discard(reply)
        if reply.done():  # who asked has gone
            return
        if isinstance(made, Exception):
            reply.set_exception(made)
        else:
            reason = "length" if made.is_cut else "stop"
            reply.set_result(Reply(made.text, reason, made.n_prompt, made.n_tokens, 0.0, f"gtm:{self.folder}"))

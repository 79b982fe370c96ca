"""An OpenAI-compatible server (`--api-base URL`, `MODEL@URL`) over one aiohttp session: 0.2 ms of CPU a call.

vLLM, llama.cpp, Ollama, SGLang, a gateway: whatever speaks POST /chat/completions. No provider's key is sent to a host
of another: the server of --api-base gets CARG_API_KEY, one of MODEL@URL what `key_name_of` says, and nothing else.
"""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import urlsplit

import orjson

from carg.backends import Reply, Request
from carg.backends.enforcing import Enforcing
from carg.backends.wire import Wire, read_completion
from carg.errors import ConfigError
from carg.pacing import Pace

KEY_NAME = "CARG_API_KEY"


class Direct:
    """One server and one model on it."""

    def __init__(self, name: str, api_base: str, pace: Pace | None = None, *, key_name: str = KEY_NAME) -> None:
        """`name` is the model as the server knows it, with or without the prefixes that litellm uses.

        `pace` learns from what the server says of its limits; `key_name` is the variable that holds its key.
        """
        self.model = name.removeprefix("openai/").removeprefix("hosted_vllm/")
        self.url = _completions_url(api_base)
        self._headers = {"Content-Type": "application/json"}
        if key := os.environ.get(key_name):
            self._headers["Authorization"] = f"Bearer {key}"
        self._wire = Wire(self.model, key_name)
        self._enforcing = Enforcing()
        self._pace = pace or Pace()

    async def complete(self, request: Request) -> Reply:
        """The server's answer."""
        return await self._enforcing.ask(request, lambda extra: self._ask(request, extra))

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._wire.aclose()

    async def _ask(self, request: Request, extra: dict[str, Any]) -> Reply:
        payload = {"model": self.model, "messages": request.messages, **request.sampling, **extra}
        body, headers = await self._wire.post(self.url, orjson.dumps(payload), self._headers)
        reply, _ = read_completion(body, self.model)
        self._pace.learn(headers, reply.tokens_in + reply.tokens_out)
        return reply


def key_name_of(url: str) -> str:
    """The variable that holds the key of a server named in MODEL@URL: CARG_API_KEY_ with host and port.

    http://gpu-1.lan:8000/v1 has CARG_API_KEY_GPU_1_LAN_8000: with several servers, none gets the key of another.
    """
    return f"{KEY_NAME}_{re.sub(r'[^A-Z0-9]+', '_', urlsplit(url).netloc.upper())}"


def _completions_url(api_base: str) -> str:
    address = urlsplit(api_base)
    if address.scheme not in ("http", "https") or not address.netloc:
        raise ConfigError(f"--api-base: {api_base!r} is no address", "give one like http://localhost:8000/v1")
    return api_base.rstrip("/") + ("" if address.path.strip("/") else "/v1") + "/chat/completions"

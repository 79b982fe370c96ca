"""What answers a request: one Protocol, the values it passes, and `open_backend`, which finds one by name.

    openai/gpt-5-mini, anthropic/..., ...   translated: litellm's translation over our own session, where it is proved
                                            chat: any other provider, through litellm's client
    MODEL@URL, MODEL with --api-base URL    direct: an OpenAI-compatible server over plain HTTP
    replay:FILE                             replay: the replies of a recorded run
    gtm:DIR                                 gtm: a trained tool model on this machine

A backend answers once or raises BackendError; cache, retry, budget and parsing lie in `asking`. The worlds are no
backend of this kind: they execute calls instead of answering text.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from carg.config import split_address
from carg.errors import ConfigError
from carg.pacing import Pace
from carg.records import Json, digest


@dataclass(frozen=True, slots=True)
class Request:
    """One question. `schema` is what a server may enforce; it is not part of the digest, nor is the model.

    `sample` tells apart questions that are equal and still want answers of their own.
    """

    prompt: str
    prompt_digest: str
    messages: tuple[Mapping[str, str], ...]
    schema: dict[str, Json] | None = None
    sampling: Mapping[str, Json] = field(default_factory=dict)
    sample: int = 0

    @property
    def digest(self) -> str:
        """Equal for equal questions, whoever answers them."""
        return digest(self.prompt, self.prompt_digest, list(self.messages), dict(self.sampling), self.sample)


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer as it came. Tokens are as the server counts them; `cost` is in US dollars, None where unknown.

    `thought`: the server sent the model's reasoning apart from the text; it is not kept.
    """

    text: str
    finish_reason: str
    tokens_in: int
    tokens_out: int
    cost: float | None
    model: str
    thought: bool = False


class Backend(Protocol):
    """Answers requests, many at a time."""

    async def complete(self, request: Request) -> Reply:
        """The answer. Raises BackendError when there is none, ConfigError when there never will be (a wrong key)."""
        ...


@contextlib.asynccontextmanager
async def open_backend(name: str, *, api_base: str | None = None, pace: Pace | None = None) -> AsyncIterator[Backend]:
    """The backend of that name, for as long as the block runs. Raises ConfigError when it cannot be one.

    `pace` learns the limits that a server tells.
    """
    model, address = split_address(name)
    async with contextlib.AsyncExitStack() as stack:
        match name.partition(":"):
            case ("world", _, _):
                raise ConfigError("backend world answers no prompts", "name a model, as in --backend openai/gpt-5-mini")
            case ("replay", ":", file):
                from carg.backends.replay import Replay

                yield stack.enter_context(contextlib.closing(Replay(Path(file))))
            case ("gtm", ":", folder):
                from carg.backends.gtm import Gtm

                if not (Path(folder) / "config.json").is_file():
                    raise ConfigError(f"backend {name}: no model in {folder!r}", "name a folder of `carg finetune`")
                yield await stack.enter_async_context(contextlib.aclosing(Gtm(Path(folder))))
            case _ if address:
                from carg.backends.direct import Direct, key_name_of

                direct = Direct(model, address, pace, key_name=key_name_of(address))
                yield await stack.enter_async_context(contextlib.aclosing(direct))
            case _ if api_base:
                from carg.backends.direct import Direct

                yield await stack.enter_async_context(contextlib.aclosing(Direct(name, api_base, pace)))
            case _:
                from carg.backends.chat import Chat
                from carg.backends.translated import translated

                pace = pace or Pace()
                chat = Chat(name, pace)
                yield await stack.enter_async_context(contextlib.aclosing(translated(chat, pace) or chat))

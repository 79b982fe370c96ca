"""Asking a server to keep to the schema of the answer, for as long as it takes such requests.

There is no list of models: a server that refuses `response_format` and takes the same request without it is asked
without it from then on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from carg.backends import Reply, Request
from carg.errors import BackendError

Send = Callable[[dict[str, Any]], Awaitable[Reply]]
"""Sends a request with these further fields."""


class Enforcing:
    """What is known of one server."""

    def __init__(self) -> None:
        self.is_taken = True

    async def ask(self, request: Request, send: Send) -> Reply:
        """The reply, with the schema enforced where the server does that. Raises what `send` raises."""
        if request.schema is None or not self.is_taken:
            return await send({})
        # Not `strict`: that mode refuses optional fields.
        schema = {"name": request.prompt, "schema": request.schema, "strict": False}
        try:
            return await send({"response_format": {"type": "json_schema", "json_schema": schema}})
        except BackendError as fault:
            if fault.retryable:
                raise
        reply = await send({})
        self.is_taken = False
        return reply

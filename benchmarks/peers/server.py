"""A lean server of the OpenAI chat protocol for the comparison with peers: one fixed answer after a fixed delay.

    python benchmarks/peers/server.py PORT DELAY_S [SHARE_OF_429]

GET /stats says what was seen since the last GET /reset: answers, refusals, most connections and calls in flight, and
seconds from the first question to the last answer. A refusal has `Retry-After: 1` and is drawn from the body and the
number of its try, so that every client meets the same ones.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import time
from collections import Counter

ANSWER = json.dumps({"ok": True, "body": {"note": "x" * 800}, "error": None})


class Seen:
    """What the clients did."""

    def __init__(self) -> None:
        self.answers = self.refusals = self.in_flight = self.most_in_flight = 0
        self.connections = self.most_connections = 0
        self.first = self.last = 0.0
        self.tries: Counter[bytes] = Counter()

    def report(self) -> bytes:
        return json.dumps(
            {
                "answers": self.answers,
                "refusals": self.refusals,
                "most_in_flight": self.most_in_flight,
                "most_connections": self.most_connections,
                "seconds": self.last - self.first,
            }
        ).encode()


class Connection(asyncio.Protocol):
    """One connection; requests on it come one after another."""

    seen = Seen()
    delay_s = 0.05
    share_429 = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.buffer = transport, b""
        self.seen.connections += 1
        self.seen.most_connections = max(self.seen.most_connections, self.seen.connections)

    def connection_lost(self, fault: Exception | None) -> None:
        self.seen.connections -= 1

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        if len(rest) >= length:
            self.buffer = rest[length:]
            self.answer(head, rest[:length])

    def answer(self, head: bytes, body: bytes) -> None:
        path = head.split(b" ", 2)[1]
        if path == b"/stats":
            return self.send(self.seen.report())
        if path == b"/reset":
            Connection.seen = Seen()
            self.seen.connections = self.seen.most_connections = 1
            return self.send(b"{}")
        if path.endswith(b"/models"):
            return self.send(b'{"object":"list","data":[{"id":"m","object":"model"}]}')
        seen = self.seen
        seen.first = seen.first or time.monotonic()
        seen.in_flight += 1
        seen.most_in_flight = max(seen.most_in_flight, seen.in_flight)
        asyncio.get_running_loop().call_later(self.delay_s, self.finish, body)
        return None

    def finish(self, body: bytes) -> None:
        seen = self.seen
        seen.in_flight -= 1
        seen.last = time.monotonic()
        if self.is_refused(body):
            seen.refusals += 1
            self.send(b'{"error":{"message":"slow down","type":"rate_limit"}}', b"429 Too Many\r\nRetry-After: 1")
        else:
            seen.answers += 1
            self.send(PAYLOAD)

    def is_refused(self, body: bytes) -> bool:
        if not self.share_429:
            return False
        key = hashlib.sha256(body).digest()
        self.seen.tries[key] += 1
        spot = hashlib.sha256(key + bytes([self.seen.tries[key] % 256])).digest()
        return int.from_bytes(spot[:4], "big") / 2**32 < self.share_429

    def send(self, payload: bytes, status: bytes = b"200 OK") -> None:
        head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(payload))
        self.transport.write(head + payload)  # type: ignore[attr-defined]


PAYLOAD = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": ANSWER}}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150},
    }
).encode()


async def main(port: int, delay_s: float, share_429: float) -> None:
    Connection.delay_s, Connection.share_429 = delay_s, share_429
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]) if sys.argv[3:] else 0.0))

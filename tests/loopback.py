"""A server on 127.0.0.1 that speaks the OpenAI chat protocol: it answers our prompts as a model would, or misbehaves.

Answers depend on the request alone. Misbehaviour is drawn from the request and the number of the try, by the shares
in `Loopback.shares`: 429, quota, 500, reset, hang, torn (a cut HTTP body), length, fence, think, prose, refuse,
nonsense, empty.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any

import orjson
from aiohttp import web

from carg.fill import fill

Json = Any
KEY = "sk-loopback-right-0123456789"


class Loopback:
    """The server's behaviour, and what it saw."""

    def __init__(self) -> None:
        self.shares: dict[str, float] = {}
        self.first: dict[str, int] = {}
        """Misbehaviour of the first calls, whatever they are: {"429": 3}."""
        self.answer: Callable[[list[Json]], Json] = answer
        self.raw: bytes | None = None
        """The body of every 200, where it is to be something else."""
        self.key: str | None = None
        self.takes_schema = True
        self.retry_after = "0.001"
        self.delay_s = 0.0
        self.limits: dict[str, str] = {}
        """Headers of every answer, such as x-ratelimit-remaining-requests."""
        self.moved = ""
        """Where it sends all callers to, if anywhere."""
        self.reasoning = ""
        """What it sends as reasoning_content."""
        self.last: Json = None
        """The request it answered last."""
        self.paid: Counter[str] = Counter()
        """Full answers given, by digest of the messages."""
        self.n_asked = 0
        self.with_schema = 0
        self.in_flight = self.most_in_flight = 0
        self.url = ""
        self._tries: Counter[str] = Counter()

    @property
    def n_paid(self) -> int:
        return sum(self.paid.values())

    async def complete(self, request: web.Request) -> web.StreamResponse:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._complete(request, orjson.loads(await request.read()))
        finally:
            self.in_flight -= 1

    async def _complete(self, request: web.Request, body: Json) -> web.StreamResponse:
        self.n_asked += 1
        self.last = body
        self.with_schema += "response_format" in body
        key = hashlib.sha256(orjson.dumps(body["messages"])).hexdigest()
        self._tries[key] += 1
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.key is not None and request.headers.get("Authorization") != f"Bearer {self.key}":
            said = f"Incorrect API key provided: {request.headers.get('Authorization')}"
            return _error(401, said, "invalid_api_key")
        if self.moved:
            return web.Response(status=307, headers={"Location": self.moved})
        if body["model"] == "unknown":
            return _error(404, "The model `unknown` does not exist", "model_not_found")
        if "response_format" in body and not self.takes_schema:
            return _error(400, "response_format is not supported", None)
        kind = self._misbehaviour(key)
        if kind in ("429", "500"):
            headers = {"Retry-After": self.retry_after} if kind == "429" and self.retry_after else {}
            headers |= self.limits if kind == "429" else {}
            return _error(int(kind), "not now", None, headers)
        if kind == "quota":
            return _error(429, "You exceeded your current quota", "insufficient_quota")
        if kind == "reset":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if kind == "hang":
            await asyncio.sleep(3600)
        return await self._answer(request, body, key, kind)

    async def _answer(self, request: web.Request, body: Json, key: str, kind: str) -> web.StreamResponse:
        said = self.answer(body["messages"])
        text = said if isinstance(said, str) else orjson.dumps(said).decode()
        finish = "stop"
        if kind == "length":
            text, finish = text[: len(text) // 2], "length"
        text = {
            "fence": f"Here you are:\n```json\n{text}\n```\nAnything else?",
            "think": f'<think>Perhaps {{"a": 1}}? No.</think>\n{text}',
            "prose": f"Certainly! {text} I hope this helps.",
            "refuse": "I'm sorry, but I can't help with that.",
            "nonsense": '{"weather": "fine"}',
            "empty": "",
        }.get(kind, text)
        message = {"role": "assistant", "content": text}
        if self.reasoning:
            message["reasoning_content"] = self.reasoning
        payload = self.raw or orjson.dumps(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1,
                "model": body["model"],
                "choices": [
                    {"index": 0, "finish_reason": finish, "message": message},
                ],
                "usage": {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150},
            }
        )
        if kind == "torn":
            response = web.StreamResponse(headers={"Content-Type": "application/json"})
            response.content_length = len(payload)
            await response.prepare(request)
            await response.write(payload[: len(payload) // 2])
            assert request.transport is not None
            request.transport.abort()
            return response
        self.paid[key] += 1
        return web.Response(body=payload, content_type="application/json", headers=self.limits)

    def _misbehaviour(self, key: str) -> str:
        for kind in self.first:
            if self.first[kind] > 0:
                self.first[kind] -= 1
                return kind
        spot = Random(f"{key} {self._tries[key]}").random()
        for kind, share in self.shares.items():
            if spot < share:
                return kind
            spot -= share
        return ""


def _error(status: int, said: str, code: str | None, headers: Mapping[str, str] | None = None) -> web.Response:
    body = orjson.dumps({"error": {"message": said, "type": "error", "code": code, "param": None}})
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)


@contextlib.contextmanager
def serve() -> Iterator[Loopback]:
    """A running server; its url ends in /v1."""
    server, loop, started = Loopback(), asyncio.new_event_loop(), threading.Event()

    async def main() -> None:
        stop = asyncio.Event()
        server.stop = lambda: loop.call_soon_threadsafe(stop.set)  # type: ignore[attr-defined]
        runner = await _start(server, 0)
        host, port = runner.addresses[0]
        server.url = f"http://{host}:{port}/v1"
        started.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()), daemon=True)
    thread.start()
    started.wait()
    try:
        yield server
    finally:
        server.stop()  # type: ignore[attr-defined]
        thread.join()
        loop.close()


async def _start(server: Loopback, port: int) -> web.AppRunner:
    app = web.Application(client_max_size=2**26)
    app.router.add_post("/v1/chat/completions", server.complete)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    return runner


# What a model would answer to each of our prompts.


def answer(messages: list[Json]) -> Json:
    """A right answer to one of our prompts, found by how its system text begins; the same for the same messages."""
    system, user = messages[0]["content"], messages[1]["content"]
    rng = Random(hashlib.sha256(orjson.dumps(messages)).hexdigest())
    for beginning, make in _ANSWERS.items():
        if system.startswith(beginning):
            return make(user, rng)
    return {"said": user}


NOUNS = [
    "permit",
    "crate",
    "kiln",
    "roster",
    "ledger",
    "badge",
    "quota",
    "parcel",
    "lease",
    "valve",
    "orchard",
    "docket",
]
VERBS = ["approve", "weigh", "split", "reschedule", "settle", "recall", "inspect", "merge", "release", "seal", "assign"]


def _services(user: str, rng: Random) -> Json:
    count = int(_after(user, r"Write exactly (\d+) services"))
    return {"services": [_service(name, rng) for name in rng.sample(NOUNS, count)]}


def _service(noun: str, rng: Random) -> Json:
    fields = [f"{noun}_id: id", "status: open | closed", "weight_kg: number, kg", "note: text, often empty"]
    return {
        "name": f"{noun}_desk",
        "title": f"{noun.capitalize()} desk",
        "summary": f"Keeps every {noun} of the site, who holds it and what state it is in.",
        "resources": [{"name": noun, "id_field": f"{noun}_id", "fields": fields, "life_cycle": "open -> closed"}],
        "operations": [f"{verb} a {noun}" for verb in rng.sample(VERBS, 3)],
        "convention": {"syntax": rng.choice(["openai", "http", "mcp"]), "nonsense": "x", "media": "morse"},
    }


def _tools(user: str, rng: Random) -> Json:
    count = int(_after(user, r"Write (\d+) further tools"))
    noun = orjson.loads(_after(user, r"what people do with it:\n(.*)\n"))["resources"][0]["name"]
    known = set(re.findall(r"^(\w+):", user, re.MULTILINE))
    made = [tool for tool in all_tools(noun) if tool["name"] not in known]
    return {"tools": made[:count] or all_tools(noun)[:1]}


def all_tools(noun: str) -> list[Json]:
    """Tools as a model would write them: create, read, search, delete, then actions."""
    shapes = [_create(noun), _read(noun), _search(noun), _delete(noun)]
    return shapes + [_action(noun, verb) for verb in VERBS]


def _tool(name: str, effect: str, noun: str, **given: Json) -> Json:
    return {
        "name": name,
        "title": name.replace("_", " ").capitalize(),
        "description": given.pop("description"),
        "effect": effect,
        "resource": noun,
        "id_argument": None,
        "id_result": None,
        "records_result": None,
        "errors": [],
        **given,
    }


def _record(noun: str) -> Json:
    return {
        f"{noun}_id": {"type": "string", "maxLength": 20},
        "status": {"enum": ["open", "closed"]},
        "weight_kg": {"type": "number", "minimum": 0, "maximum": 900},
        "note": {"type": ["string", "null"], "maxLength": 80},
    }


def _object(properties: Json, required: list[str]) -> Json:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _id_parameter(noun: str) -> Json:
    return {f"{noun}_id": {"type": "string", "maxLength": 20, "description": f"Id of the {noun}."}}


def _create(noun: str) -> Json:
    number = {"type": "number", "minimum": 0, "maximum": 900, "description": "Weight in kg."}
    least = {"type": "number", "minimum": 0, "maximum": 900, "description": "Least accepted weight in kg."}
    note = {"type": "string", "maxLength": 80, "description": "Remark."}
    fault = {"code": "too_light", "fault": "rule.cross_field", "status": 422, "message": "It is lighter than allowed."}
    missing = {"code": "no_weight", "fault": "schema.missing", "status": 400, "message": "The weight is missing."}
    never = {"code": "never", "fault": "rule.cross_field", "status": 422, "message": "This cannot happen at all."}
    return _tool(
        f"open_{noun}",
        "create",
        noun,
        description=f"Opens a {noun} of a given weight, which must not be under the least weight.",
        parameters=_object({"weight_kg": number, "least_kg": least, "note": note}, ["weight_kg", "least_kg"]),
        returns=_object(_record(noun), [f"{noun}_id", "status", "weight_kg", "note"]),
        id_result=f"{noun}_id",
        errors=[
            {**fault, "field": "weight_kg", "when": {"rule": "weight_kg < least_kg"}},
            {**missing, "field": "weight_kg", "when": {"schema": "required", "at": "/weight_kg"}},
            {**never, "field": None, "when": {"rule": "weight_kg > 1000"}},
        ],
    )


def _read(noun: str) -> Json:
    missing = {"code": "gone", "fault": "state.not_found", "status": 404, "message": f"There is no such {noun}."}
    return _tool(
        f"get_{noun}",
        "read",
        noun,
        description=f"Shows one {noun} with its weight, state and remark.",
        parameters=_object(_id_parameter(noun), [f"{noun}_id"]),
        returns=_object(_record(noun), [f"{noun}_id", "status", "weight_kg", "note"]),
        id_argument=f"{noun}_id",
        id_result=f"{noun}_id",
        errors=[{**missing, "field": f"{noun}_id", "when": {"state": "it was deleted"}}],
    )


def _search(noun: str) -> Json:
    status = {"enum": ["open", "closed"], "description": "Only those in this state."}
    limit = {"type": "integer", "minimum": 1, "maximum": 50, "default": 10, "description": "How many at most."}
    item = _object(_record(noun), [f"{noun}_id", "status", "weight_kg", "note"])
    return _tool(
        f"find_{noun}s",
        "search",
        noun,
        description=f"Lists {noun}s by their state, the heaviest of them first.",
        parameters=_object({"status": status, "limit": limit}, ["status"]),
        returns=_object({"items": {"type": "array", "maxItems": 50, "items": item}}, ["items"]),
        id_result=f"items.{noun}_id",
        records_result="items",
    )


def _delete(noun: str) -> Json:
    gone = {"code": "gone", "fault": "state.not_found", "status": 404, "message": f"There is no such {noun}."}
    return _tool(
        f"discard_{noun}",
        "delete",
        noun,
        description=f"Removes a {noun} for good and says which one it was.",
        parameters=_object(_id_parameter(noun), [f"{noun}_id"]),
        returns=_object({f"{noun}_id": {"type": "string", "maxLength": 20}}, [f"{noun}_id"]),
        id_argument=f"{noun}_id",
        errors=[{**gone, "field": f"{noun}_id", "when": {"state": "it was deleted"}}],
    )


def _action(noun: str, verb: str) -> Json:
    amount = {"type": "integer", "minimum": 1, "maximum": 40, "description": f"How many times to {verb} it."}
    closed = {"code": "closed_already", "fault": "state.conflict", "status": 409, "message": f"The {noun} is closed."}
    return _tool(
        f"{verb}_{noun}",
        "action",
        noun,
        description=f"Lets the keeper {verb} a {noun}; {verb} is one of the acts that close it, see the {verb} rules.",
        parameters=_object({**_id_parameter(noun), f"{verb}_count": amount}, [f"{noun}_id"]),
        returns=_object(_record(noun), [f"{noun}_id", "status", "weight_kg", "note"]),
        id_argument=f"{noun}_id",
        id_result=f"{noun}_id",
        errors=[{**closed, "field": f"{noun}_id", "when": {"state": "it was closed"}}],
    )


def _calls(user: str, rng: Random) -> Json:
    schema = orjson.loads(_after(user, r"Definition: (.*)\n"))["parameters"]
    n_valid, n_invalid = (int(_after(user, rf"(\d+) {kind}")) for kind in ("right calls", "wrong ones"))
    calls = [{"intent": "as usual", "arguments": sample(schema, rng)} for _ in range(n_valid)]
    for _ in range(n_invalid):
        wrong = sample(schema, rng)
        if schema.get("required"):
            wrong.pop(rng.choice(schema["required"]), None)
        else:
            wrong["surely_unknown"] = 1
        calls.append({"intent": "in a hurry", "arguments": wrong})
    return {"calls": calls}


def _session(user: str, rng: Random) -> Json:
    definitions = orjson.loads(_after(user, r"Tools: (.*)\n"))
    goal = _after(user, r"Goal: (.*)\n")
    goal = "Open two of them before the inspector comes on Friday." if goal.startswith("none") else goal
    history = _after(user, r"(?s)So far:\n(.*)\n\nCalls left")
    seen = re.findall(r'_id":"([A-Z]-\d+)"', history)
    if history.count("\n") > 6 or not definitions:
        return {"goal": goal, "done": True, "tool": None, "arguments": None}
    chosen = rng.choice(definitions)
    arguments = sample(chosen["parameters"], rng)
    for name in arguments:
        if name.endswith("_id"):
            arguments[name] = rng.choice(seen) if seen else f"K-{rng.randint(100, 999)}"
    return {"goal": goal, "done": False, "tool": chosen["name"], "arguments": arguments}


def _respond(user: str, rng: Random) -> Json:
    definition = orjson.loads(_after(user, r"Definition: (.*)\n"))
    call = orjson.loads(_after(user, r"\nCall: (.*)"))
    if "is among those below" in user and "closed_already" in user and rng.random() < 0.4:
        error = {"code": "closed_already", "message": "It is closed by now.", "field": None}
        return {"ok": False, "body": None, "error": error}
    # Tools of others rarely say what they return; then any object will do.
    body = sample(
        definition.get("returns") or {"type": "object", "properties": {"note": _text(40)}, "required": ["note"]}, rng
    )
    if not isinstance(body, dict):
        return {"ok": True, "body": body, "error": None}
    store = _after(user, r"The store so far: (.*)\n")
    for name, value in body.items():
        if name in (call["arguments"] or {}):
            body[name] = call["arguments"][name]
        elif name.endswith("_id"):
            body[name] = f"K-{rng.randint(1000, 9999)}"
        elif value is not None and (known := re.search(rf'"{name}":("[^"]*"|[\d.]+)', _of(store, call))):
            body[name] = orjson.loads(known[1])
    if "items" in body:
        body["items"] = []
    return {"ok": True, "body": body, "error": None}


def _text(most: int) -> Json:
    return {"type": "string", "maxLength": most}


def _of(store: str, call: Json) -> str:
    """The part of the store that speaks of the record the call names."""
    names = [value for name, value in (call["arguments"] or {}).items() if name.endswith("_id")]
    at = store.find(f'"{names[0]}":{{') if names else -1
    return store[at:].split("}")[0] if at >= 0 else ""


def sample(schema: Json, rng: Random) -> Json:
    """A value that fits the schema: one of those above, or, of tools that others defined, any."""
    try:
        return _sample(schema, rng)
    except KeyError:
        return fill(schema, rng)


def _sample(schema: Json, rng: Random) -> Json:
    if "enum" in schema:
        return rng.choice(schema["enum"])
    kind = schema["type"][0] if isinstance(schema["type"], list) else schema["type"]
    if kind == "object":
        named = schema["properties"].items()
        return {name: sample(inner, rng) for name, inner in named if name in schema["required"] or rng.random() < 0.5}
    if kind == "array":
        return [sample(schema["items"], rng) for _ in range(rng.randint(0, 2))]
    if kind == "string":
        return " ".join(rng.choice(NOUNS) for _ in range(2))[: schema["maxLength"]]
    number = rng.randint(schema["minimum"], schema["maximum"])
    return number if kind == "integer" else number + rng.choice((0, 0.5)) * (number < schema["maximum"])


def _after(text: str, pattern: str) -> str:
    found = re.search(pattern, text)
    assert found, f"{pattern!r} is not in the prompt"
    return found[1]


_ANSWERS: dict[str, Callable[[str, Random], Json]] = {
    "You design the software": _services,
    "You write the definitions": _tools,
    "You write the calls": _calls,
    "You are an agent": _session,
    "You are the tool": _respond,
}


if __name__ == "__main__":
    # python tests/loopback.py PORT DELAY_S SHARE_OF_429: a server of its own, for benchmarks.

    async def forever() -> None:
        server = Loopback()
        server.delay_s, server.retry_after = float(sys.argv[2]), "1"
        server.shares = {"429": float(sys.argv[3])}
        server.answer = lambda messages: {"ok": True, "body": {"note": "x" * 800}, "error": None}
        await _start(server, int(sys.argv[1]))
        await asyncio.Event().wait()

    asyncio.run(forever())

"""An answerer that is hard to please: a rich vocabulary for `expand`, and every fault that models are known for.

Plug `Demanding(...)` into `Loopback.answer`. Of the tools it writes some nearly repeat an earlier one, clash in name,
have invented types, no `returns`, unbounded strings, predicates that never fire, always fire or are no expressions,
ids that are nowhere, effects that contradict themselves; it offers services that exist; some answers are no JSON. All
of it depends on the messages alone. `python tests/hard_to_please.py` serves it and prints its url.
"""

from __future__ import annotations

import hashlib
import re
import sys
import time
from collections.abc import Callable
from random import Random
from typing import Any

import orjson
from loopback import answer as answer_right
from loopback import sample, serve

Json = Any
MALFORMED, TRUNCATED = 0.05, 0.01
FAULTS = {
    "near_duplicate": 0.06,
    "same_name": 0.03,
    "invented_type": 0.04,
    "no_returns": 0.04,
    "nowhere_id": 0.03,
    "not_described": 0.02,
    "contradiction": 0.02,
    "unbounded": 0.10,
}
"""Shares of the tools; `unbounded` is mended by rule, the others must be refused."""
KNOWN_SERVICE = 0.15

VERBS = """approve weigh split reschedule settle recall inspect merge release seal assign audit calibrate close compare
confirm count defer dispatch escalate estimate extend flag forward freeze grade hold insure issue label lock log measure
move nominate notify pause price process prolong publish quarantine rank rate reconcile refund register reject renew
repair replace reserve restore return review revise rotate sample scan schedule score screen segregate sign sort stamp
submit suspend swap tag test trace transfer transmit unlock upgrade validate verify void waive withdraw""".split()
NOUNS = """permit crate kiln roster ledger badge quota parcel lease valve orchard docket batch shift claim ticket panel
sample pallet route gauge invoice voucher warrant lot slot bay tank drum reel sheet plan survey entry record case order
bid tender policy notice report log filter sensor meter pump motor frame rack shelf vault locker wagon berth gate lane
tray bundle roll coil mould blend draft pledge grant bond levy fee rota post desk ward bed chart swab plate slide core
plot herd hive pen net trap line mast sail hull keel deck cabin""".split()
PROPERTIES = [
    ("weight_kg", 1, 900, "mass on the calibrated scale in kilograms"),
    ("length_mm", 1, 12000, "outer length in millimetres, measured cold"),
    ("share_percent", 0, 100, "part of the whole in percent"),
    ("temperature_c", -40, 180, "core temperature in degrees Celsius"),
    ("pressure_kpa", 10, 2500, "gauge pressure in kilopascals"),
    ("moisture_percent", 0, 60, "water content by mass in percent"),
    ("price_cents", 0, 9000000, "net price in cents of the local currency"),
    ("duration_min", 1, 1440, "planned working time in minutes"),
    ("distance_km", 0, 2500, "way by road in kilometres"),
    ("dose_mg", 1, 4000, "amount of the active substance in milligrams"),
    ("voltage_v", 1, 1000, "nominal voltage in volts"),
    ("area_m2", 1, 50000, "floor or field area in square metres"),
    ("depth_m", 0, 900, "depth below the surface in metres"),
    ("ph", 0, 14, "acidity after two minutes of stirring"),
    ("age_days", 0, 9000, "days since it was first recorded"),
    ("speed_kmh", 1, 320, "highest speed allowed, kilometres an hour"),
    ("count_pieces", 1, 5000, "whole pieces, broken ones not counted"),
    ("humidity_percent", 5, 99, "relative humidity of the air in percent"),
    ("noise_db", 20, 140, "noise at one metre in decibels"),
    ("interest_percent", 0, 25, "yearly interest in percent, nominal"),
]
WORDS = [
    ("grade", ["first", "second", "export", "reject"], "quality class by the house rules"),
    ("urgency", ["low", "normal", "high", "immediate"], "how soon somebody must look at it"),
    ("channel", ["counter", "phone", "portal", "courier"], "how the request came in"),
    ("shift", ["early", "late", "night"], "shift that is in charge"),
    ("reason", ["damage", "expiry", "customer_wish", "recount", "other"], "why it is done"),
    ("zone", ["north", "south", "yard", "cold_store"], "part of the site where it lies"),
    ("currency", ["EUR", "USD", "KES", "JPY"], "currency of all amounts"),
    ("method", ["manual", "scanner", "estimate"], "how the value was found"),
]
CLAUSES = """\
Needs a {noun} that nobody else holds at the moment.|The {prop} is compared with the last reading of the same
{noun}.|Whoever is on the {word} list gets a note about {topic}.|It leaves the {other} untouched and writes a
line into the journal of {topic}.|Repeated within an hour it changes nothing about the {noun}.|Amounts are taken
as given; the {other} is looked up only for {topic}.|After that the {noun} counts for {topic} and no longer for
the open list.|Two people must have seen the {noun} before, one of them from {topic}.|A {noun} without {prop}
stays in the queue of the {word}.|Use it before the {other} is closed, or {topic} has to begin anew.|The {word}
decides which form is printed for {topic}.|Values of {prop} come from the {noun} itself, never from the
{other}.|Only whole steps are allowed when {topic} is running.|The result holds until the next {verb} of the
same {noun}.|Costs are booked on the {other} that belongs to {topic}.
""".replace("\n", " ").split("|")


class Demanding:
    """Answers as the shares say; `spoil` False gives only sound tools."""

    def __init__(self, *, spoil: bool = True) -> None:
        self.spoil = spoil

    def __call__(self, messages: list[Json]) -> Json:
        """The answer to a prompt of `expand`, to `whole` or `queries`; others are answered as by `loopback.answer`."""
        system, user = messages[0]["content"], messages[1]["content"]
        rng = Random(hashlib.sha256(orjson.dumps(messages)).hexdigest())
        make = next((make for beginning, make in _ANSWERS.items() if system.startswith(beginning)), None)
        if make is None:
            return answer_right(messages)
        value = make(user, rng, self.spoil)
        if self.spoil and rng.random() < MALFORMED:
            text = orjson.dumps(value).decode()
            return rng.choice([text[: len(text) // 3], text.replace('":', '"', 3), text.replace("{", "(", 2), ""])
        return value


def services(user: str, rng: Random, spoil: bool) -> Json:
    """As many as asked for; now and then one that exists already is among them."""
    count = int(_after(user, r"Write exactly (\d+) services"))
    topics = orjson.loads(_after(user, r"between them: (\[.*\])\n"))
    known = re.findall(r"^(\w+): ", _after(user, r"(?s)records again\):\n(.*)\n\nWrite exactly"), re.MULTILINE)
    made = [_service(topic, rng.choice(NOUNS), rng) for topic in (topics * 12)[:count]]
    if spoil and rng.random() < KNOWN_SERVICE:
        made[-1] = {**made[-1], "name": known[0] if known else made[0]["name"]}
    return {"services": made}


def _service(topic: str, noun: str, rng: Random) -> Json:
    prefix = re.sub(r"[^a-z0-9]+", "_", topic.lower()).strip("_")[:20].rstrip("_")
    name = f"{prefix}_{noun}"
    name = name if name[0].isalpha() else f"x{name}"
    fields = [f"{name}_id: id", *(f"{prop}: number, {words}" for prop, _, _, words in rng.sample(PROPERTIES, 5))]
    return {
        "name": f"{name}_{rng.choice(['desk', 'book', 'office', 'register'])}"[:40].rstrip("_"),
        "title": f"{topic} by {noun}"[:80].capitalize(),
        "summary": f"Keeps every {noun} that {topic} needs, who holds it and what was measured on it.",
        "resources": [{"name": name[:40], "id_field": f"{name}"[:36] + "_id", "fields": fields, "life_cycle": "none"}],
        "operations": [f"{verb} a {noun}" for verb in rng.sample(VERBS, 12)],
        "convention": {"syntax": rng.choice(["openai", "http", "mcp", "python"]), "media": "morse"},
    }


def tools(user: str, rng: Random, spoil: bool) -> Json:
    """As many as asked for, each spoiled by the shares of FAULTS."""
    count = int(_after(user, r"Write (\d+) further tools"))
    service = orjson.loads(_after(user, r"what people do with it:\n(.*)\n"))
    title = _after(user, r"Domain: (.*?)\. ")
    known = re.findall(r"^(\w+): ", _after(user, r"(?s)refer to their records:\n(.*)\n\nFound wrong"), re.MULTILINE)
    made: list[Json] = []
    for _ in range(count):
        tool = _tool(service, title, rng)
        spot = rng.random() if spoil else 1.0
        for fault, share in FAULTS.items():
            if spot < share:
                _SPOIL[fault](tool, made, known, rng)
                break
            spot -= share
        made.append(tool)
    return {"tools": made}


def _tool(service: Json, title: str, rng: Random) -> Json:
    resource = service["resources"][0]["name"]
    verb, effect = (
        rng.choice(VERBS),
        rng.choice(["read", "search", "create", "update", "delete", *["action"] * 6, "compute"]),
    )
    numbers, words = rng.sample(PROPERTIES, rng.randint(2, 4)), rng.sample(WORDS, rng.randint(1, 2))
    topic = f"{service['title'].lower()} in {title.lower()}"
    name = f"{verb}_{resource}_{numbers[0][0]}_{words[0][0]}"[:60].rstrip("_")
    slots = {"topic": topic, "verb": verb, "other": rng.choice(NOUNS), "word": words[0][0], "prop": numbers[0][0]}
    clauses = [clause.strip().format(**slots, noun=resource.replace("_", " ")) for clause in rng.sample(CLAUSES, 3)]
    parameters = {
        prop: {**_number(low, high), "description": f"{words_} for {topic}"} for prop, low, high, words_ in numbers
    }
    parameters |= {word: {"enum": options, "description": f"{about} of the {verb}"} for word, options, about in words}
    record = _record(resource, numbers, words)
    tool = {
        "name": name,
        "title": f"{verb} by {numbers[0][0]} and {words[0][0]}".replace("_", " ").capitalize()[:80],
        "description": f"To {verb} the {resource.replace('_', ' ')} by {numbers[0][0]}. {' '.join(clauses)}",
        "effect": effect,
        "resource": None if effect == "compute" else resource,
        "parameters": _object(parameters, [numbers[0][0]]),
        "returns": _object(record, list(record)),
        "id_argument": None,
        "id_result": None,
        "records_result": None,
        "errors": _errors(numbers, words, rng),
    }
    return _with_ids(tool, effect, resource, record)


def _with_ids(tool: Json, effect: str, resource: str, record: Json) -> Json:
    key = f"{resource}_id"
    if effect in ("read", "update", "delete", "action"):
        tool["parameters"]["properties"][key] = {"type": "string", "maxLength": 24, "description": f"Which {resource}."}
        tool["parameters"]["required"].append(key)
        tool["id_argument"] = key
        gone = {"code": "not_found", "fault": "state.not_found", "status": 404, "message": "There is none of that id."}
        tool["errors"].append({**gone, "field": key, "when": {"state": "it was deleted"}})
    if effect == "search":
        tool["returns"] = _object(
            {"items": {"type": "array", "maxItems": 50, "items": _object(record, [key])}}, ["items"]
        )
        tool["records_result"], tool["id_result"] = "items", f"items.{key}"
    elif effect != "compute":
        tool["id_result"] = key
    return tool


def _errors(numbers: Json, words: Json, rng: Random) -> list[Json]:
    (one, low, high, _), (other, *_) = numbers[0], numbers[1]
    word, options, _ = words[0]
    middle = round((low + high) / 2, 1)
    rules = [
        ({"rule": f"{one} > {middle} and {word} == '{options[0]}'"}, "rule.cross_field"),
        ({"rule": f"{other} != null and {word} == null"}, "rule.cross_field"),
        ({"rule": f"{one} > {high + 1}"}, "rule.limit"),
        ({"rule": f"{one} >= {low}"}, "rule.limit"),
        ({"rule": f"{one}.value > 3 or import os"}, "rule.cross_field"),
        ({"schema": "maximum", "at": f"/{one}"}, "schema.range"),
        ({"schema": "required", "at": f"/{one}"}, "schema.missing"),
        ({"schema": "enum", "at": f"/{word}"}, "schema.enum"),
        ({"schema": "pattern", "at": f"/{one}"}, "schema.format"),
    ]
    chosen = rng.sample(range(len(rules)), rng.randint(1, 3))
    return [
        {
            "code": f"fault_{at}",
            "fault": rules[at][1],
            "status": 422,
            "message": f"{one} breaks rule {at}.",
            "field": one,
        }
        | {"when": rules[at][0]}
        for at in chosen
    ]


def _record(resource: str, numbers: Json, words: Json) -> Json:
    record = {f"{resource}_id": {"type": "string", "maxLength": 24}}
    record |= {prop: _number(low, high) for prop, low, high, _ in numbers}
    return (
        record | {word: {"enum": options} for word, options, _ in words} | {"note": {"type": "string", "maxLength": 80}}
    )


def _number(low: float, high: float) -> Json:
    return {"type": "number", "minimum": low, "maximum": high}


def _object(properties: Json, required: list[str]) -> Json:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _repeat(tool: Json, made: list[Json], known: list[str], rng: Random) -> None:
    if made:
        old = orjson.loads(orjson.dumps(made[-1]))
        tool.clear()
        tool.update(old | {"name": f"{old['name'][:57]}_b", "description": old["description"] + " Once more."})


def _clash(tool: Json, made: list[Json], known: list[str], rng: Random) -> None:
    names = [*known, *(item["name"] for item in made)]
    tool["name"] = rng.choice(names) if names else tool["name"]


def _invent(tool: Json, made: list[Json], known: list[str], rng: Random) -> None:
    next(iter(tool["parameters"]["properties"].values()))["type"] = rng.choice(
        ["strin", "money", "geo:point", "Maybe<int>"]
    )


def _contradict(tool: Json, made: list[Json], known: list[str], rng: Random) -> None:
    tool["records_result"] = "note" if tool["effect"] != "search" else "items.note"


def _unbind(tool: Json, made: list[Json], known: list[str], rng: Random) -> None:
    tool["parameters"]["properties"]["remark"] = {"type": "str", "description": "Anything worth saying."}
    tool["returns"]["properties"]["trail"] = {"type": "list", "items": {"type": "string"}}


def _undescribe(tool: Json, made: list[Json], known: list[str], rng: Random) -> None:
    for node in tool["parameters"]["properties"].values():
        node.pop("description", None)


_SPOIL: dict[str, Callable[[Json, list[Json], list[str], Random], None]] = {
    "near_duplicate": _repeat,
    "same_name": _clash,
    "invented_type": _invent,
    "no_returns": lambda tool, made, known, rng: tool.pop("returns"),
    "nowhere_id": lambda tool, made, known, rng: tool.update(id_argument="nowhere.id"),
    "not_described": _undescribe,
    "contradiction": _contradict,
    "unbounded": _unbind,
}


def whole(user: str, rng: Random, spoil: bool) -> Json:
    """A session over a store of its own; now and then a step does not agree with its call, or with those before."""
    definitions = orjson.loads(_after(user, r"Tools: (.*)\n"))
    store: dict[str, Json] = {}
    steps = [_step(rng.choice(definitions), store, rng, spoil) for _ in range(int(_after(user, r"of (\d+) steps")))]
    return {"goal": "See that nothing is left open before the inspector comes on Friday.", "steps": steps}


def _step(definition: Json, store: dict[str, Json], rng: Random, spoil: bool) -> Json:
    arguments = sample(definition["parameters"], rng)
    for name in [name for name in arguments if name.endswith("_id")]:
        arguments[name] = rng.choice([*store, f"K-{rng.randint(100, 999)}"])
    body = sample(definition["returns"], rng)
    named = next(
        (str(value) for name, value in arguments.items() if name.endswith("_id")), f"K-{rng.randint(1000, 9999)}"
    )
    known = store.setdefault(named, {})
    for name in body:
        if name.endswith("_id"):
            body[name] = named
        elif name in arguments or name in known:
            body[name] = arguments.get(name, known.get(name))
    body |= {"items": []} if "items" in body else {}
    known.update(body)
    if spoil and rng.random() < 0.1:
        body = dict.fromkeys(body, "soon")
    return {"tool": definition["name"], "arguments": arguments, "ok": True, "body": body, "error": None}


def queries(user: str, rng: Random, spoil: bool) -> Json:
    """Queries that say the values of their first call; some name a tool that is not there, or leave the id out."""
    definitions = orjson.loads(_after(user, r"Tools: (.*)\n"))
    made = []
    for _ in range(int(_after(user, r"Write (\d+) queries"))):
        chain = rng.sample(definitions, min(len(definitions), rng.randint(1, 3)))
        arguments = sample(chain[0]["parameters"], rng)
        said = ", ".join(str(value) for value in arguments.values())
        names = [item["name"] for item in chain]
        if spoil and rng.random() < 0.2:
            names, said = rng.choice([(["no_such_tool"], said), (names, "something"), ([*names, names[0]], said)])
        made.append({"query": f"Before Friday I need this sorted out, please: {said}."[:600], "tools": names})
        made[-1]["arguments"] = arguments
    return {"queries": made}


_ANSWERS: dict[str, Callable[[str, Random, bool], Json]] = {
    "You design the software": services,
    "You write the definitions": tools,
    "You write down one session": whole,
    "You write what people ask": queries,
}


def _after(text: str, pattern: str) -> str:
    found = re.search(pattern, text)
    assert found, f"{pattern!r} is not in the prompt"
    return found[1]


if __name__ == "__main__":
    with serve() as server:
        server.answer, server.shares = Demanding(), {"length": TRUNCATED}
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        while True:
            time.sleep(3600)

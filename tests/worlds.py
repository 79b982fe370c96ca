"""A small world made by hand, a lending shed for tools: every kind of field, operation and policy, on a few records."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

from carg.records import Instance, Opening, Session
from carg.scene import Scene
from carg.stages.by_world import NEUTRAL
from carg.world import replay
from carg.world.conventions import draw_convention
from carg.world.executing import execute
from carg.world.load import load_world_text
from carg.world.openings import grow_opening
from carg.world.outcome import Actor, Outcome
from carg.world.service import Service
from carg.world.setting import Setting
from carg.world.state import State

TEXT = """
title = "Tool sheds"
category = "Testing"
summary = "Sheds of a neighbourhood that lend out tools: where each hangs, who has it, what it cost, how it turns."
topics = ["sheds", "tools", "members", "loans", "checks", "drill speeds"]
kind = "records"
starts = 2024-03-01
span = { days = 60, steps = 60 }

[knobs]
most_loans = { values = [2, 3, 1], about = "loans of one member at a time" }
dear = { values = [300, 200, 400], unit = "EUR", about = "price above which only the chief scraps" }
[constants]
day_rate = { value = 0.5, unit = "EUR", about = "fee for a day" }
[vocab]
maker = { Bosch = 3, Makita = 2, Stihl = 1 }
[text.shed_name]
forms = ["{street} {n:1-99}"]
street = ["Mill Lane", "Elm Row", "Quay"]
[text.label]
forms = ["{maker} {what} {n:10-99}", "{maker} {what} {n:10-99} with case, spare parts and a long cord"]
what = ["drill", "saw", "sander"]
[text.note]
forms = ["handle loose{more}", "new blade", "blunt"]
more = ["", ", see to it", " again"]

[resources.shed]
about = "A shed where tools hang."
id = "SHD"
initial = [2, 3]
pace = 0.02
offers = ["get", "search", "create", "update", "delete", "aggregate"]
on_delete = { tool = "restrict" }
filters = ["open", "tools", "name", "capacity"]
[[resources.shed.always]]
that = "tools <= capacity"
code = "shed_full"
class = "rule.limit"
field = "capacity"
say = "Shed {name} holds {capacity} tools."
[resources.shed.fields]
name = { text = "shed_name", unique = true }
site = { address = true }
capacity = { integer = [3, 12], about = "tools that fit" }
humidity = { series = [20, 90], length = [4, 4], step = 5, unit = "percent", written_by = "system" }
open = { boolean = 0.8 }
tools = { count = "tool", by = "shed", where = "tool.status != 'scrapped'" }
worth = { sum = "tool.price", by = "shed", unit = "EUR" }

[resources.tool]
about = "A tool to be lent."
id = "TOL"
initial = [6, 8]
pace = 0.05
offers = ["get", "search", "create", "update", "delete", "batch_get", "aggregate"]
on_delete = { loan = "restrict", tool = "nullify", inspection = "cascade" }
filters = ["status", "kind", "shed", "price", "bought", "uses"]
roles = { delete = ["keeper", "chief"] }
[[resources.tool.rules.create]]
that = "kind != 'saw' or price >= 20"
code = "saw_too_cheap"
field = "price"
say = "A saw for {price} EUR is none."
[resources.tool.fields]
label = { text = "label" }
code = { code = "AA-###", unique = true }
shed = { ref = "shed" }
kind = { choice = { drill = 3, saw = 2, sander = 1 } }
maker = { vocab = "maker" }
price = { number = [5, 600], unit = "EUR" }
deposit = { number = [0, 60], unit = "EUR", written_by = "system", start = "round(price / 10, 2)" }
battery = { integer = [12, 36], unit = "V", only_if = "kind == 'drill'", optional = 0.2 }
bought = { date = "past" }
seen = { time = "now" }
uses = { list = { choice = ["wood", "metal", "stone", "tile"] }, length = [0, 3] }
size = { object = { length = { integer = [10, 90] }, cord = { number = [0, 5], optional = 0.4 } } }
spare = { ref = "tool", optional = 0.6, about = "lent in its place" }
note = { text = "note", optional = 0.4 }
status = { life = { ready = ["lent", "scrapped"], lent = ["ready"], scrapped = [] }, starts = "ready" }

[resources.member]
about = "Somebody who borrows."
id = "MEM"
initial = [3, 4]
pace = 0.03
offers = ["get", "search", "create", "update", "delete"]
on_delete = { loan = "cascade" }
[resources.member.fields]
name = { person = true }
email = { email = "name", unique = true }
phone = { phone = true, optional = 0.3 }
tier = { choice = { plain = 4, patron = 1, barred = 1 }, default = "plain" }
points = { integer = [0, 500], written_by = "actions", start = "0" }
joined = { date = "now", written_by = "system", start = "today" }
loans = { count = "loan", by = "member", where = "loan.status == 'open'" }
fees = { sum = "loan.fee", by = "member", unit = "EUR" }

[resources.loan]
about = "A tool that somebody has or had."
id = "LON"
offers = ["get", "search"]
[resources.loan.fields]
tool = { ref = "tool", written_by = "actions" }
member = { ref = "member", written_by = "actions" }
since = { time = "now" }
due = { date = [0, 14], written_by = "actions" }
fee = { number = [0, 9], unit = "EUR", written_by = "actions" }
status = { life = { open = ["closed"], closed = [] } }

[resources.inspection]
about = "One look at a tool."
id = "INS"
offers = ["get", "search"]
[resources.inspection.fields]
tool = { ref = "tool", written_by = "actions" }
verdict = { choice = { sound = 4, worn = 1 }, written_by = "system" }
kind = { choice = ["drill", "saw", "sander"], written_by = "actions" }
by = { text = "note", written_by = "actions" }

[actions.lend_tool]
about = "Lend the tool for some days; at most {most_loans} at a time."
on = "tool"
moves = "ready -> lent"
inputs.member = { ref = "member" }
inputs.days = { integer = [1, 14], default = 7 }
let.cost = "days * day_rate"
says = ["lend {tool} to {member}"]
[actions.lend_tool.returns]
loan = "loan"
due = "loan.due"
points = "member.points"
before = "was.member.points"
open = "member.loans"
[[actions.lend_tool.require]]
that = "member.tier != 'barred'"
class = "state.conflict"
code = "member_barred"
field = "member"
say = "{member.name} is barred."
[[actions.lend_tool.require]]
that = "member.loans < most_loans"
class = "rule.limit"
code = "too_many_loans"
field = "member"
say = "{member.name} has {member.loans} of {most_loans}."
[actions.lend_tool.set]
"member.points" = "member.points + days"
[actions.lend_tool.create.loan]
tool = "tool"
member = "member"
due = "add_days(today, days)"
fee = "cost"

[actions.return_tool]
about = "The tool is back: its loan is closed."
on = "tool"
moves = "lent -> ready"
[actions.return_tool.set]
"tool.shed.open" = "true"
[[actions.return_tool.set_each]]
each = "l in loan if l.tool == tool and l.status == 'open'"
set = { "l.status" = "'closed'" }

[actions.move_tools]
about = "Hang tools in another shed."
on = { each = "tool", most = 5 }
moves = "ready"
inputs.to = { ref = "shed" }
returns = { there = "to.tools", tools = "tools" }
[[actions.move_tools.require]]
that = "tool.shed != to"
class = "state.conflict"
code = "there_already"
field = "tools"
say = "Tool {tool.id} hangs in {tool.shed.name} already."
[actions.move_tools.set]
"tool.shed" = "to"

[actions.swap_points]
about = "Two members swap their points."
on = "member"
inputs.other = { ref = "member" }
returns = { mine = "member.points", theirs = "other.points" }
[[actions.swap_points.require]]
that = "other != member"
code = "same_member"
field = "other"
say = "Nobody swaps with himself."
[actions.swap_points.set]
"member.points" = "other.points"
"other.points" = "member.points"

[actions.inspect_tools]
about = "Look at some tools."
inputs.tools = { list = { ref = "tool" }, length = [1, 4] }
returns = "inspection"
[actions.inspect_tools.create.inspection]
for = "t in tools"
tool = "t"
kind = "t.kind"
by = "actor"

[actions.scrap_tool]
about = "Scrap a tool; above {dear} EUR only the chief may."
on = "tool"
moves = "ready -> scrapped"
roles = ["keeper", "chief"]
inputs.share = { integer = [0, 5], about = "owners" }
returns = { each = "tool.price / share", tool = "record(tool)" }
[[actions.scrap_tool.require]]
that = "tool.price <= dear or role == 'chief'"
class = "state.forbidden"
code = "too_dear"
field = "tool"
say = "Tool {tool.id} cost {tool.price}."

[formulas.cutting_speed]
about = "Speed of a bit's rim."
inputs.diameter = { number = [1, 100], unit = "mm" }
inputs.turns = { number = [1, 5000], unit = "1/min" }
let.rim = "pi * diameter"
output.speed = { is = "rim * turns / 1000", decimals = 2, unit = "m/min" }
output.fast = { is = "speed > 100" }
require = [{ that = "diameter * turns < 200000", code = "too_fast", field = "turns", say = "{turns} is too fast." }]
sweep = ["turns"]
solve = ["turns"]
empirical = true
source = "Test handbook, 1999"
example = { diameter = 10, turns = 1000, speed = 31.42, fast = false }

[formulas.ratio]
about = "One by the other."
inputs.above = { number = [-10, 10] }
inputs.below = { number = [-10, 10] }
output.ratio = { is = "above / below", decimals = 3 }
empirical = true
source = "Test handbook, 1999"
example = { above = 1, below = 2, ratio = 0.5 }

[tables.bits]
about = "Bits by material."
source = "Test handbook, 1999"
key = "material"
columns = { material = "text", bit = "text", turns = "integer" }
rows = [["oak", "HSS", 900], ["brick", "carbide", 700], ["steel", "cobalt", 400]]

[tables.screws]
about = "Screws and the holes they want."
source = "Test handbook, 1999"
columns = { size = { number = true, unit = "mm" }, hole = { number = true, unit = "mm" }, head = "choice" }
rows = [[3.0, 2.0, "flat"], [4.0, 2.5, "flat"], [5.0, 3.5, "round"], [6.0, 4.0, "round"]]

[services.counter]
about = "Members and loans."
offers = ["member", "loan", "lend_tool", "return_tool", "swap_points", "screws", "ratio"]
roles = ["keeper", "helper", "chief"]
[services.workshop]
about = "Sheds and tools."
offers = ["shed", "tool", "inspection", "move_tools", "inspect_tools", "scrap_tool", "cutting_speed", "bits"]
roles = ["keeper", "helper", "chief"]

[[goals]]
on = "tool"
want = "the tool lent"
reach = "tool.status == 'lent'"
[[goals]]
on = "member"
want = "points"
raise = "member.points"
"""

WORLD = load_world_text(TEXT.encode(), Path("testing/tool_sheds.toml"))
NOW = 1_717_400_040
"""2024-06-03 07:34 UTC, a Monday."""
TODAY = NOW // 86_400


def load(extra: str) -> Any:
    """The world with more TOML behind it."""
    return load_world_text((TEXT + extra).encode(), Path("testing/tool_sheds.toml"))


def draw_instance(seed: int = 1, service: str = "counter", world: Any = WORLD, **must: str) -> Instance:
    """An instance of a service under a drawn convention; it is kept where replay looks."""
    convention = draw_convention(Random(seed), must=must)
    name = f"{world.digest}/{service}/{seed}/{convention.id}"
    instance = Instance(name, world.name, world.category, service, seed, convention, (), domain_digest=world.digest)
    if name not in replay._services:
        replay._services[name] = Service(world, instance)
    return instance


def service_of(instance: Instance) -> Service:
    """The service of an instance of this module."""
    return replay._services[instance.id]


def plain_service(service: str = "counter", seed: int = 1, **must: str) -> Service:
    """A service under the plainest convention."""
    return service_of(draw_instance(seed, service, **{**NEUTRAL, **must}))


def open_scene(session: Session, instance: Instance, opening: Opening) -> Scene:
    """The session resolved."""
    service = service_of(instance).with_siblings(session.siblings)
    return Scene(session, instance, service.shown(session.tools), opening)


def grow(instance: Instance, seed: int = 1) -> Opening:
    """A grown opening of an instance of this module."""
    return grow_opening(service_of(instance).setting, instance, seed)


def setting(**knobs: Any) -> Setting:
    """The world with some knobs turned."""
    return Setting(WORLD, knobs, id_style="prefixed_sequence", salt="test")


def shed(key: str, **cells: Any) -> dict[str, Any]:
    """A shed of 10 tools; `tools` and `worth` are counted by `state`."""
    site = {"street": "Elm Row 3", "postal_code": "AB1", "city": "York", "country": "GB"}
    plain = {"name": f"Shed {key}", "site": site, "capacity": 10, "humidity": [40.0, 41.0, 42.0, 43.0], "open": True}
    return {"id": key, **plain, "tools": 0, "worth": 0.0, **cells}


def tool(key: str, **cells: Any) -> dict[str, Any]:
    """A ready saw of 100 EUR in shed S1."""
    made = {"label": f"Saw {key}", "code": f"SA-{key[-1] * 3}", "shed": "S1", "kind": "saw", "maker": "Bosch"}
    made |= {"price": 100.0, "deposit": 10.0, "battery": None, "bought": TODAY - 30, "seen": NOW - 3600}
    made |= {"uses": ["wood"], "size": {"length": 40, "cord": None}, "spare": None, "note": None, "status": "ready"}
    return {"id": key, **made, **cells}


def member(key: str, **cells: Any) -> dict[str, Any]:
    """A plain member with 20 points."""
    made = {"name": f"Kim {key}", "email": f"{key}@post.example", "phone": None, "tier": "plain", "points": 20}
    return {"id": key, **made, "joined": TODAY - 90, "loans": 0, "fees": 0.0, **cells}


def loan(key: str, tool: str, member: str, **cells: Any) -> dict[str, Any]:
    """An open loan of 2 EUR, due today."""
    made = {"tool": tool, "member": member, "since": NOW - 86_400, "due": TODAY, "fee": 2.0, "status": "open"}
    return {"id": key, **made, **cells}


def state(**more: list[dict[str, Any]]) -> State:
    """Two sheds, three tools (T3 lent to M1), two members; more records replace those of their id. Counts are kept."""
    records = {
        "shed": [shed("S1"), shed("S2")],
        "tool": [tool("T1"), tool("T2", kind="drill", battery=18, price=60.0, shed="S2"), tool("T3", status="lent")],
        "member": [member("M1"), member("M2", points=5)],
        "loan": [loan("L1", "T3", "M1")],
        "inspection": [],
    }
    tables = {name: {record["id"]: record for record in [*rows, *more.get(name, [])]} for name, rows in records.items()}
    for key, one in tables["shed"].items():
        mine = [item for item in tables["tool"].values() if item["shed"] == key]
        one["tools"] = sum(item["status"] != "scrapped" for item in mine)
        one["worth"] = sum((item["price"] for item in mine), 0.0)
    for key, one in tables["member"].items():
        mine = [item for item in tables["loan"].values() if item["member"] == key]
        one["loans"] = sum(item["status"] == "open" for item in mine)
        one["fees"] = sum((item["fee"] for item in mine), 0.0)
    return State(tables, NOW, {name: len(rows) for name, rows in tables.items()})


def run(
    operation: str, arguments: dict[str, Any], *, on: State | None = None, role: str = "keeper", **knobs: Any
) -> Outcome:
    """One execution over the small state; nothing is changed."""
    return execute(setting(**knobs), on or state(), WORLD.operations[operation], arguments, Actor("Ann Lee", role))


def records_after(outcome: Outcome) -> dict[str, Any]:
    """`table/id` -> the record after, of each that changed."""
    return {f"{change.table}/{change.id}": change.record for change in outcome.changes}


def untightened(service: Service) -> Service:
    """The service with definitions that take all that the world takes."""
    return service.with_siblings({name: list(tool.tightenings) for name, tool in service.tools.items()})

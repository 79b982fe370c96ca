"""A small sound world: tools lent to members, with a formula and two tables. Every kind of entry occurs in it."""

from __future__ import annotations

import json
import tomllib
from datetime import date, datetime, time
from typing import Any

TEXT = """
title = "Tool library"
category = "Culture and everyday life"
summary = "A library of tools: members borrow drills and saws, pay deposits, and bring them back before they are due."
topics = ["lending a tool", "overdue loans", "repairs of tools", "member deposits", "late fees", "opening hours"]
kind = "records"
starts = 2024-03-01
span = { days = 200, steps = 120 }

[knobs]
most_loans = { values = [2, 3, 1], about = "loans a member may have" }
day_fee = { values = [2.0, 1.5], unit = "EUR/day", about = "fee for each day late" }

[constants]
gravity = { value = 9.80665, unit = "m/s^2", about = "standard gravity, ISO 80000-3" }

[vocab]
make = { Bosch = 3, Makita = 2, Hilti = 1 }

[text.note]
forms = { "{state}, {n:1-9} screws missing" = 2, "{make} {state}" = 1 }
state = ["worn", "like new"]

[resources.member]
about = "Somebody who borrows tools."
id = "MEM"
plural = "members"
offers = ["get", "search", "create", "update", "delete", "batch_get", "aggregate"]
initial = [4, 6]
pace = 0.08
on_delete = { loan = "restrict" }
filters = ["name", "level"]
roles = { delete = ["keeper"] }
always = ["deposit >= 0"]
[[resources.member.rules.create]]
that = "deposit >= 20 or level != 'gold'"
code = "deposit_too_small"
field = "deposit"
say = "A gold member leaves at least 20 EUR, not {deposit}."
[resources.member.fields]
name = { person = true }
email = { email = "name", optional = 0.3 }
phone = { phone = true, optional = 0.2 }
address = { address = true, optional = 0.5 }
card = { code = "AA-####", unique = true }
level = { choice = { plain = 4, gold = 1 } }
deposit = { number = [0, 80], unit = "EUR", decimals = 2, shape = "heaped", step = 5 }
trades = { list = { choice = ["wood", "metal", "stone"] }, length = [0, 2] }
contact = { object = { name = { person = true }, phone = { phone = true, optional = 0.2 } }, optional = 0.6 }
born = { date = [-20000, -7000], written_by = "create" }
joined = { time = "now", written_by = "system", start = "now" }
loans = { count = "loan", by = "member", where = "loan.status == 'open'" }
paid = { sum = "loan.fee", by = "member" }

[resources.tool]
about = "A tool on a shelf or lent."
id = "TOO"
offers = ["get", "search", "create"]
initial = [8, 12]
pace = 0.05
always = [{ that = "rent <= worth", code = "rent_above_worth", field = "rent", say = "{rent} is above {worth}." }]
[resources.tool.fields]
make = { vocab = "make" }
kind = { choice = ["drill", "saw"] }
size = { choice = ["S", "L"], by = "kind", options = { drill = ["S"], saw = ["S", "L"] } }
power = { integer = [200, 2000], unit = "W", by = "kind", ranges = { drill = [200, 900] } }
worth = { number = [40, 400], unit = "EUR" }
rent = { number = [1, 20], unit = "EUR" }
cordless = { boolean = 0.4 }
battery = { integer = [10, 60], only_if = "cordless", start = "20" }
wear = { series = [0, 10], length = [3, 3], written_by = "system" }
repairs = { integer = [0, 50], written_by = "actions", start = "0" }
note = { text = "note", optional = 0.3 }
status = { life = { shelved = ["lent", "broken"], lent = ["shelved"], broken = ["shelved", "scrapped"], scrapped = []}}

[resources.loan]
about = "A tool lent to a member."
id = "LOA"
offers = ["get", "search"]
[resources.loan.fields]
member = { ref = "member", shape = "zipf" }
tool = { ref = "tool" }
due = { date = [2, 14] }
fee = { number = [0, 500], unit = "EUR", written_by = "actions", start = "0" }
status = { life = { open = ["closed"], closed = [] } }

[actions.lend]
about = "Lend a tool; at most {most_loans} loans a member."
on = "tool"
moves = "shelved -> lent"
inputs.member = { ref = "member" }
inputs.days = { integer = [2, 14], default = 7 }
says = ["lend {tool} to {member}"]
let.count = "member.loans"
returns = "loan"
[[actions.lend.require]]
that = "count < most_loans"
code = "too_many_loans"
field = "member"
say = "{member.name} has {count} loans already."
[[actions.lend.require]]
that = "member.deposit >= tool.rent"
code = "deposit_too_small"
field = "member"
say = "The deposit of {member.deposit} EUR is below {tool.rent} EUR."
[actions.lend.create.loan]
member = "member"
tool = "tool"
due = "add_days(today, days)"
fee = "tool.rent"

[actions.bring_back]
about = "Take a lent tool back."
on = "loan"
moves = "open -> closed"
due = { after = "loan.due", days = [-1, 4] }
inputs.broken = { boolean = 0.2, default = false }
let.late = "max(0, days_between(loan.due, today))"
returns = { loan = "record(loan)", late = "late", before = "was.loan.fee" }
[actions.bring_back.set]
"loan.fee" = "min(500, loan.fee + late * day_fee)"
"loan.tool.status" = "'shelved'"

[actions.report_broken]
about = "Put a tool aside for repair."
on = "tool"
moves = "shelved -> broken"
inputs.note = { like = "tool.note" }
season = [3, 4, 5, 6, 7, 8, 9]
[actions.report_broken.set]
"tool.note" = "note"

[actions.repair]
about = "Put mended tools back on the shelf."
on = { each = "tool", most = 4 }
moves = "broken -> shelved"
roles = ["keeper"]
[actions.repair.set]
"tool.repairs" = "min(50, tool.repairs + 1)"

[actions.scrap]
about = "Give up a broken tool that was mended before."
on = "tool"
moves = "broken -> scrapped"
roles = ["keeper"]

[actions.raise_rents]
about = "Raise the rent of all tools of a make."
inputs.make = { vocab = "make" }
inputs.percent = { integer = [1, 5] }
roles = ["keeper"]
returns = { raised = "count(t for t in tool if t.make == make)" }
[[actions.raise_rents.set_each]]
each = "t in tool if t.make == make"
set = { "t.rent" = "min(t.worth, 20, t.rent * (1 + percent / 100))" }

[[goals]]
on = "tool"
want = "a broken tool mended"
raise = "tool.repairs"
[[goals]]
on = "member"
want = "a member without loans"
reach = "member.loans == 0"

[formulas.drop_speed]
about = "Speed of a hammer that falls from a shelf."
inputs.height = { number = [0.5, 4], decimals = 2, unit = "m", about = "height of the shelf" }
inputs.brake = { number = [0, 0.5], unit = "", decimals = 2, default = 0.1 }
let.energy = "2 * gravity * height"
output.speed = { is = "sqrt(energy * (1 - brake))", decimals = 3, unit = "m/s" }
output.dangerous = { is = "height > 2" }
require = [{ that = "height >= 0.6 or brake > 0", code = "too_low", field = "height", say = "Too low: {height} m." }]
sweep = ["height"]
solve = ["height"]
source = "Halliday, Resnick and Walker, Fundamentals of Physics, 10th edition, 2014"
example = { height = 2.0, brake = 0.0, speed = 6.263, dangerous = false }

[tables.screws]
about = "Screws by size."
source = "ISO 4014:2022"
key = "size"
columns = { size = "text", width = { number = true, unit = "mm" }, grade = { choice = true, about = "steel" } }
rows = [["M4", 7, "8.8"], ["M5", 8, "8.8"], ["M6", 10, "10.9"]]

[tables.hours]
about = "When the library is open."
source = "House rules, 2024"
columns = { day = "text", hours = "integer", late = "boolean" }
rows = [["Monday", 4, false], ["Tuesday", 8, true], ["Friday", 6, false]]

[services.counter]
about = "Lending and returns."
offers = ["member", "loan", "lend", "bring_back", "hours"]
roles = ["helper", "keeper"]
style = { never = { syntax = ["xml"] } }

[services.workshop]
about = "Tools and repairs."
offers = ["tool", "report_broken", "repair", "scrap", "raise_rents", "drop_speed", "screws"]
roles = ["keeper", "helper"]
style = { must = { syntax = "openai" } }
"""


def small_world() -> dict[str, Any]:
    """The world as plain tables, to be spoiled."""
    return tomllib.loads(TEXT)


def toml_of(value: Any) -> str:
    """A table as TOML, every inner one inline."""
    return "\n".join(f"{json.dumps(key)} = {_inline(item)}" for key, item in value.items())


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_inline(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_inline(item) for item in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    return json.dumps(value) if isinstance(value, str) else repr(value)

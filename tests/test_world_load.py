"""The loader of worlds: a sound file, one spoiled entry for each kind of fault, hostile files, and mangled values."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_world import TEXT, small_world, toml_of

from carg.errors import DomainError
from carg.world.load import MAX_FILE_BYTES, load_world, load_world_text
from carg.world.model import World

PATH = Path("culture/tools.toml")


def load(text: str) -> World:
    return load_world_text(text.encode(), PATH)


def faults_of(text: str) -> list[str]:
    """The faults of a file; [] where it loads."""
    try:
        load(text)
    except DomainError as fault:
        return fault.message.split("\n")
    return []


def spoiled(old: str, new: str) -> list[str]:
    """The faults of the small world with one text replaced."""
    assert TEXT.count(old) >= 1, old
    return faults_of(TEXT.replace(old, new, 1))


def test_the_small_world_loads() -> None:
    """Tools, services and names come out as written."""
    world = load(TEXT)

    assert (world.name, world.category, world.kind) == ("tools", "culture", "records")
    assert list(world.services) == ["counter", "workshop"]
    assert [name for name, item in world.operations.items() if item.kind == "action"] == [
        "lend",
        "bring_back",
        "report_broken",
        "repair",
        "scrap",
        "raise_rents",
    ]
    assert [rule.code for rule in world.operations["lend"].rules] == [
        "tool_not_shelved",
        "too_many_loans",
        "deposit_too_small",
    ]


def test_written_as_inline_tables_it_is_the_same_world() -> None:
    """How TOML spells a table makes no difference."""
    one, other = load(TEXT), load(toml_of(small_world()))

    assert list(one.operations) == list(other.operations)
    assert one.digest != other.digest


@pytest.mark.parametrize(
    ("old", "new", "entry", "part"),
    [
        ('kind = "records"', 'kind = "record"', "kind", "did you mean 'records'?"),
        ("starts = 2024-03-01", 'starts = "March"', "starts", "must be a date"),
        ("days = 200", "days = -1", "span.days", "must be a number from 1"),
        ("values = [2, 3, 1]", "values = [2]", "knobs.most_loans", "at least two"),
        ("value = 9.80665", 'value = "g"', "constants.gravity", "a number"),
        ("Bosch = 3", "Bosch = 0", "vocab.make", "above 0"),
        ("{make} {state}", "{maker} {state}", "resources.tool.fields.note", "slot {maker} is unknown"),
        ("{n:1-9}", "{n:a-b}", "resources.tool.fields.note", "slot {n:a-b} is unknown"),
        ('"batch_get", "aggregate"]', '"batch_got"]', "resources.member.offers", "did you mean 'batch_get'?"),
        ('on_delete = { loan = "restrict" }', "", "resources.member.on_delete", "say what becomes of loan"),
        ('loan = "restrict"', 'loan = "forbid"', "resources.member.on_delete.loan", "policy 'forbid' is unknown"),
        ('filters = ["name"', 'filters = ["nam"', "resources.member.filters", "did you mean 'name'?"),
        ('delete = ["keeper"]', 'delete = ["boss"]', "resources.member.roles.delete", "role 'boss' is unknown"),
        ('always = ["deposit >= 0"]', 'always = ["deposit >= name"]', "resources.member.always[0].that", "compared"),
        ('always = ["deposit >= 0"]', 'always = ["joined <= now"]', "resources.member.always[0]", "reads now"),
        ("initial = [4, 6]", "initial = [6, 4]", "resources.member.initial", "least 6 is above most 4"),
        ("pace = 0.08", "pace = 8", "resources.member.pace", "from 0 to 1"),
        ("name = { person = true }", "id = { person = true }", "resources.member.fields.id", "cannot name a field"),
        ("optional = 0.3 }", "optional = 3 }", "resources.member.fields.email", "a share from 0"),
        ("phone = { phone = true, optional = 0.2 }", "phone = { optional = 0.2 }", "fields.phone", "exactly one kind"),
        ("number = [0, 80]", "number = [80, 0]", "resources.member.fields.deposit", "least 80 is above most 0"),
        ('shape = "heaped"', 'shape = "heap"', "resources.member.fields.deposit", "did you mean 'heaped'?"),
        ("decimals = 2, shape", "decimals = 2.5, shape", "fields.deposit.decimals", "whole number"),
        ('written_by = "create" }', 'written_by = "me" }', "resources.member.fields.born", "writer 'me' is unknown"),
        ('start = "now" }', "start = \"'x'\" }", "resources.member.fields.joined.start", "does not fit a time"),
        ('count = "loan"', 'count = "loans"', "resources.member.fields.loans", "count = 'resource'"),
        ('sum = "loan.fee"', 'sum = "loan.due"', "resources.member.fields.paid", "is no number"),
        ('vocab = "make" }\nkind', 'vocab = "maker" }\nkind', "resources.tool.fields.make", "did you mean 'make'?"),
        ('by = "kind", options', 'by = "kinds", options', "resources.tool.fields.size.by", "did you mean 'kind'?"),
        ('only_if = "cordless"', 'only_if = "power"', "fields.battery.only_if", "boolean is needed"),
        ('lent = ["shelved"]', 'lent = ["shelve"]', "resources.tool.fields.status", "state 'shelve' is not listed"),
        ('ref = "member", shape', 'ref = "members", shape', "resources.loan.fields.member", "did you mean 'member'?"),
        ('on = "tool"\nmoves = "shelved -> lent"', 'on = "tol"\nmoves = "a -> b"', "actions.lend.on", "'tool'?"),
        ('"shelved -> lent"', '"lent -> broken"', "actions.lend.moves", "no step lent -> broken"),
        ("integer = [2, 14], default = 7", "integer = [2, 14], default = 70", "inputs.days.default", "2 to 14"),
        ('like = "tool.note"', 'like = "tool.notes"', "actions.report_broken.inputs.note", "no such field"),
        ('let.count = "member.loans"', 'let.count = "member.lones"', "actions.lend.let.count", "no field 'lones'"),
        ('that = "count < most_loans"', 'that = "count"', "actions.lend.require[0].that", "boolean is needed"),
        ('code = "too_many_loans"', 'code = "Too many"', "actions.lend.require[0].code", "lower-case name"),
        ('field = "member"', 'field = "membr"', "actions.lend.require[0].field", "did you mean 'member'?"),
        ("{count} loans already", "{cont} loans already", "actions.lend.require[0].say", "did you mean 'count'?"),
        ('member = "member"\ntool', "tool", "actions.lend.create.loan", "does not say member"),
        ('due = "add_days', 'dew = "add_days', "actions.lend.create.loan.dew", "did you mean 'due'?"),
        ("\"'shelved'\"", "\"'shelf'\"", "actions.bring_back.set.loan.tool.status", "is not among"),
        ('"loan.fee" = "min', '"loan.member.loans" = "min', "actions.bring_back", "kept by the system"),
        ("season = [3", "season = [13", "actions.report_broken.season", "from 1 to 12"),
        ('roles = ["keeper"]\n[actions.repair', 'roles = ["boss"]\n[actions.repair', "actions.repair.roles", "'boss'"),
        ('each = "t in tool if', 'each = "tool if', "actions.raise_rents.set_each[0]", "each ="),
        ("days = [-1, 4] }", "days = [4, -1] }", "actions.bring_back.due.days", "least 4 is above"),
        ('raise = "tool.repairs"', 'rise = "tool.repairs"', "goals[0]", "did you mean 'raise'?"),
        ("10th edition, 2014", "any edition", "formulas.drop_speed.source", "author, title, year"),
        ("speed = 6.263, ", "", "formulas.drop_speed.example", "lacks speed"),
        ('sweep = ["height"]', 'sweep = ["hight"]', "formulas.drop_speed.sweep", "did you mean 'height'?"),
        ('is = "sqrt(', 'is = "sqr(', "formulas.drop_speed.output.speed", "no function 'sqr'"),
        ('key = "size"', 'key = "sise"', "tables.screws.key", "did you mean 'size'?"),
        ('["M5", 8, "8.8"]', '["M4", 8, "8.8"]', "tables.screws.rows", "the same size"),
        ('["Tuesday", 8, true]', '["Tuesday", 8.5, true]', "tables.hours.rows[1]", "hours must be a integer"),
        ('["Tuesday", 8, true]', '["Tuesday", true]', "tables.hours.rows[1]", "2 cells for 3 columns"),
        ('"bring_back", "hours"]', '"bring_back"]', "services", "no service offers 'hours'"),
        (
            '"bring_back", "hours"]',
            '"bring_back", "hours", "repair"]',
            "services.workshop.offers",
            "offered by counter",
        ),
        ('syntax = ["xml"]', 'syntax = ["yaml"]', "services.counter.style", "no value 'yaml'"),
        ('roles = ["helper", "keeper"]', "roles = []", "services.counter.roles", "somebody must call it"),
        ("[knobs]", "[nobs]", "file", "did you mean 'knobs'?"),
    ],
)
def test_a_spoiled_entry_is_named(old: str, new: str, entry: str, part: str) -> None:
    """Each kind of fault names the file, the entry, and what is allowed."""
    found = spoiled(old, new)

    assert any(f"{entry}" in line and part in line for line in found), found
    assert all(line.startswith("tools.toml: ") for line in found)


def test_all_faults_come_at_once() -> None:
    """Two spoiled entries give two faults, and the hint counts them."""
    text = TEXT.replace("pace = 0.08", "pace = 8").replace('shape = "heaped"', 'shape = "heap"')

    with pytest.raises(DomainError) as caught:
        load(text)

    assert len(caught.value.message.split("\n")) == 2
    assert caught.value.hint.startswith("2 faults")


@pytest.mark.parametrize(
    "source",
    [
        "__import__('os').system('true')",
        "open('x')",
        "().__class__.__bases__[0].__subclasses__()",
        "member.__class__",
        "member.name.__class__.__mro__",
        "(lambda: 1)()",
        "[x for x in member]",
        "{'a': 1}",
        "(x := 1)",
        "'%1000000000d' % 1",
        "'a' * 1000000000",
        "f'{count}'",
        "'{0.__class__}'.format(count)",
        "count if",
        "1e999 < 2",
        "123456789012345678901234567890 < 1",
        "count.real < 1",
        "any(any(any(l == k for k in loan) for l in loan) for m in loan)",
        "any(True for l in loan for k in loan)",
        "total(1, i, 0, 'x') < 1",
        "not " * 400 + "true",
        "(" * 300 + "1" + ")" * 300 + " < 2",
        "1 + " * 260 + "1 < 2",
        "x" * 1001,
        "count < 1; count",
        "\x00",
        "yield count",
        "await count",
        "*count",
        "count < 1 < 2 < 3",
        "count is None",
        "count & 1",
        "~count",
        "b'x' == b'x'",
        "1j == 1j",
        "... == 1",
    ],
)
def test_hostile_expressions_are_refused(source: str) -> None:
    """Nothing but the closed language is taken, and what is refused has run nothing."""
    tables = small_world()
    tables["actions"]["lend"]["require"][0]["that"] = source

    found = faults_of(toml_of(tables))

    assert any("actions.lend.require[0].that" in line for line in found), found


@pytest.mark.parametrize("source", ["10.0 ** 10 ** 10 ** 10 > 1", "2 ** 999999999 > 1", "total(i, i, 0, 10 ** 9) > 1"])
def test_endless_sums_and_powers_load_but_end(source: str) -> None:
    """What is too large is not computable when it is run; it neither hangs nor fills the memory."""
    from carg.world.functions import Uncomputable

    tables = small_world()
    tables["formulas"]["drop_speed"]["require"][0]["that"] = source
    rule = load(toml_of(tables)).formulas["drop_speed"].rules[0]

    with pytest.raises(Uncomputable):
        rule.that.run(lambda *_: None, lambda _: (), {"height": 1.0, "brake": 0.1})


def test_format_strings_are_only_text() -> None:
    """A slot is an expression of the closed language: no attributes, no formats."""
    assert "has no field '__class__'" in spoiled("{member.name} has", "{member.__class__} has")[0]
    assert "is not an expression" in spoiled("{count} loans already", "{count!r:>99999999} loans already")[0]


def test_large_deep_and_torn_files_are_refused(tmp_path: Path) -> None:
    """A megabyte, a thousand brackets, bytes that are no text, a folder: each a DomainError."""
    for text in (b"#" * (MAX_FILE_BYTES + 1), b"a = " + b"[" * 100_000, b"\xff\xfe", b"a = 1\na = 2"):
        with pytest.raises(DomainError):
            load_world_text(text, PATH)
    with pytest.raises(DomainError):
        load_world(tmp_path / "none.toml")


# Mangled values -----------------------------------------------------------------------------------------------------


def places(value: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place in nested tables."""
    if place:
        yield place
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*place, key))


SMALL = small_world()
PLACES = list(places(SMALL))
VALUES = st.one_of(
    st.sampled_from([0, -1, 10**18, 10**30, 1.5, float("nan"), float("inf"), -1e308, True, "", "x", "'a'", "now"]),
    st.sampled_from([date(2024, 1, 1), time(1, 2), datetime(2024, 1, 1, 3)]),
    st.text(max_size=8),
    st.recursive(
        st.integers(-5, 5) | st.text("ab", max_size=2),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", min_size=1, max_size=2), inner, max_size=2)
        ),
        max_leaves=4,
    ),
)


def mangled(place: tuple[str | int, ...], value: Any, *, rename: bool) -> dict[str, Any]:
    """The small world with another value, or another name, at one place; None takes it out."""
    tables: Any = copy.deepcopy(SMALL)
    spot = tables
    for key in place[:-1]:
        spot = spot[key]
    if rename and isinstance(spot, dict):
        spot["zz"] = spot.pop(place[-1])
    elif value is None:
        del spot[place[-1]]
    else:
        spot[place[-1]] = value
    return dict(tables)


@given(st.sampled_from(PLACES), st.none() | VALUES, st.booleans())
@settings(max_examples=150, deadline=None)
def test_mangled_values_are_faults_or_load(place: tuple[str | int, ...], value: Any, rename: bool) -> None:
    """Whatever stands in the place of a value, the loader says DomainError with the file's name, or makes a world."""
    try:
        load(toml_of(mangled(place, value, rename=rename)))
    except DomainError as fault:
        assert fault.message.startswith("tools.toml")


@given(st.integers(0, len(TEXT) - 1), st.integers(1, 40), st.text(max_size=6))
@settings(max_examples=60, deadline=None)
def test_torn_texts_are_faults_or_load(start: int, size: int, put: str) -> None:
    """A cut or a smear anywhere in the text is told, not raised."""
    torn = TEXT[:start] + put + TEXT[start + size :]
    try:
        load_world_text(torn.encode("utf-8", "surrogatepass"), PATH)
    except DomainError as fault:
        assert fault.message.startswith("tools.toml")

"""Definitions as draws: siblings that leave a tightening out, arguments there and back, bodies as `returns` says."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from worlds import NEUTRAL, NOW, TODAY, draw_instance, grow, load, plain_service, service_of, state, untightened

from carg.errors import RecordError
from carg.records import Opening
from carg.schemas import faults, validator
from carg.world.arguments import read_arguments, show_arguments
from carg.world.caller import draw_arguments
from carg.world.definitions import draw_tool
from carg.world.describing import all_rules, written_cells
from carg.world.failing import (
    draw_sibling,
)
from carg.world.singles import Singles
from carg.world.state import State
from carg.world.tightening import _possible

TIGHT = {
    "drop": "schema.unknown",
    "need": "schema.missing",
    "enum": "schema.enum",
    "high": "schema.range",
    "low": "schema.range",
    "whole": "schema.type",
    "short": "schema.range",
    "form": "schema.format",
    "few": "schema.range",
}
"""What refuses a call that uses the slack of each kind of tightening."""


def services(seeds=range(1, 25)):
    """Both services under drawn conventions."""
    for seed in seeds:
        for name in ("counter", "workshop"):
            yield service_of(draw_instance(seed, name))


def test_definitions_are_drawn_and_the_draw_is_repeatable():
    """The same instance gives the same; another convention other words, another seed other tightenings."""
    one, again = plain_service("workshop", 3), plain_service("workshop", 3)
    tool = draw_tool(one.surface, one.world.operations["search_tools"], "")
    assert tool.definition == draw_tool(again.surface, one.world.operations["search_tools"], "").definition
    drawn = {tuple(sorted(plain_service("workshop", seed).tools["search_tools"].tightenings)) for seed in range(12)}
    assert len(drawn) > 8


def test_schemas_of_definitions_are_closed_and_bounded():
    """No additional properties; every text and list has an end; required names exist."""

    def walk(schema):
        kinds = schema.get("type")
        kinds = kinds if isinstance(kinds, list) else [kinds]
        if "object" in kinds:
            assert schema["additionalProperties"] is False
            assert set(schema["required"]) <= schema["properties"].keys()
            for inner in schema["properties"].values():
                walk(inner)
        if "array" in kinds:
            assert "maxItems" in schema
            walk(schema["items"])
        if "string" in kinds and "enum" not in schema:
            assert "maxLength" in schema or "format" in schema or "pattern" in schema

    for service in services(range(1, 7)):
        for tool in service.tools.values():
            walk(tool.definition.parameters)
            walk(tool.definition.returns)


def test_knobs_stand_in_the_words():
    """Another knob, another limit in the description; the rule with its expression."""
    service = plain_service()
    definition = service.tools["lend_tool"].definition

    assert "at most 2 at a time" in definition.description
    limit = next(spec for spec in definition.errors if spec.code == "too_many_loans")
    assert limit.when == {"state": "not (member_id.loans < 2)"}
    assert limit.fault == "rule.limit"


def test_errors_are_listed_in_the_order_in_which_they_are_tried():
    """Own rules, existence, invariants of what is written, roles."""
    codes = [spec.code for spec in plain_service("workshop").tools["move_tools"].definition.errors]
    assert codes.index("shed_full") > codes.index("there_already") > codes.index("tool_not_ready")
    faults_named = {spec.fault for spec in plain_service("workshop").tools["scrap_tool"].definition.errors}
    assert faults_named == {"state.forbidden", "state.not_found", "state.order", "rule.limit"}


def test_what_a_delete_empties_elsewhere_can_refuse_it():
    """An invariant over a reference that is emptied is among the errors of the delete, as it is what refuses it."""
    world = load("""
[resources.badge]
about = "Opens a shed."
id = "BDG"
initial = [3, 4]
offers = ["get", "create", "delete"]
on_delete = { holder = "nullify" }
[resources.badge.fields]
label = { text = "label" }
[resources.holder]
about = "Who has a badge, or none."
id = "HLD"
initial = [3, 4]
offers = ["get", "create"]
always = [{ that = "not inside or badge != null", code = "inside_bare", class = "state.conflict", say = "No." }]
[resources.holder.fields]
badge = { ref = "badge", optional = 0.2 }
inside = { boolean = 0.5 }
[services.gate]
about = "Who may go in."
offers = ["badge", "holder"]
""")
    codes = {name: {rule.code for rule in all_rules(world, world.operations[name])} for name in world.operations}

    assert "inside_bare" in codes["delete_badge"] & codes["create_holder"]
    assert "inside_bare" not in codes["create_badge"] | codes["delete_member"]
    assert {("member", "name"), ("loan", "fee"), ("member", "fees")} <= written_cells(
        world, world.operations["delete_member"]
    )


def test_a_tightening_leaves_room_for_what_the_world_gives():
    """A number with a broken default is not made whole; what goes with some records only is not asked for with all."""
    operation = plain_service("workshop").world.operations["create_tool"]
    price = next(item for item in operation.inputs if item.name == "price")
    battery = next(item for item in operation.inputs if item.name == "battery")
    kinds = {
        default: _possible(operation, replace(price, required=False, spec=replace(price.spec, default=default)))
        for default in (None, 29.0, 29.5)
    }

    assert ["whole" in kinds[default] for default in (None, 29.0, 29.5)] == [True, True, False]
    assert "need" in kinds[29.5]
    assert battery.spec.only_if is not None
    assert "need" not in _possible(operation, battery)
    assert "need" in _possible(operation, replace(battery, spec=replace(battery.spec, only_if=None)))


def test_every_kind_of_tightening_makes_a_minimal_pair():
    """A call that is valid without it is refused with it, by exactly the class it should be."""
    met: dict[str, int] = {}
    for service in services():
        opening = Opening("o", "i", 0, NOW, {"name": "Ann", "role": "chief", "credential": "ann"}, state().tables, {})
        singles = Singles(service, opening, Random(5))
        for _ in range(14):
            item = draw_sibling(singles)
            if item is None:
                continue
            kind, _, _ = item.without.partition(":")
            loose = service.with_siblings({item.operation: [item.without]})
            there = State(opening.tables, NOW, {})
            tight = service.answer(there, item.text, opening.actor, service.definitions)
            free = loose.answer(there, item.text, opening.actor, loose.definitions)
            if not free.response.ok:
                # Somebody else's credential: other faults come first in neither.
                assert free.call.violates[0].fault == "state.forbidden"
                continue
            assert [violation.fault for violation in tight.call.violates] == [TIGHT[kind]], (kind, item.text)
            met[kind] = met.get(kind, 0) + 1
    assert met.keys() == TIGHT.keys()


@settings(max_examples=120, deadline=None)
@given(st.integers(1, 40), st.sampled_from(["counter", "workshop"]), st.integers(0, 10**6))
@example(30, "workshop", 13)  # numbers inside an object, where bodies show them as text
def test_arguments_come_back_as_they_were_under_any_convention(seed, name, call):
    """Shown, written, parsed, validated, read: names, nesting, dates, pages, ids."""
    instance = draw_instance(seed, name)
    service, opening = untightened(service_of(instance)), grow(instance, call % 2)
    rng, there = Random(call), State(opening.tables, opening.now, {})
    operation = rng.choice(list(service.tools.values())).operation
    arguments = draw_arguments(service.setting, there, operation, rng, {})
    if arguments is None:
        return
    if "offset" in arguments and service.surface.factors["paging"] == "page_size":
        arguments["offset"] = arguments.get("limit", 10) * 2
    tool = service.tools[operation.name]
    shown = show_arguments(service.surface, tool, arguments)

    assert not faults(tool.definition.parameters, shown)
    assert read_arguments(service.surface, tool, shown) == arguments
    text = service.write_call(operation.name, arguments, "ann")
    answered = service.answer(there, text, {"name": "A", "role": "chief", "credential": "ann"}, service.definitions)
    assert answered.arguments == arguments


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.sampled_from(["counter", "workshop"]), st.integers(0, 10**6))
def test_bodies_are_as_returns_says_under_any_convention(seed, name, call):
    """Embedded references, nulls left out, terse answers, pages, groups."""
    instance = draw_instance(seed, name)
    service = service_of(instance)
    opening = grow(instance, call % 2)
    singles = Singles(service, opening, Random(call))
    singles.actor = {**opening.actor, "role": "chief"}
    there = State(opening.tables, opening.now, dict(opening.counters))
    for _ in range(6):
        item = singles.valid()
        if item is None:
            continue
        answered = service.answer(there, item.text, singles.actor, service.definitions)
        assert answered.response.ok, answered.response.text
        returns = service.tools[item.operation].definition.returns
        assert not faults(returns, answered.response.body), (item.operation, answered.response.body)


def test_dates_that_do_not_exist_are_format_faults():
    """In the convention's style, and in the other form of a tightened date."""
    for style, text in (("iso", "2024-02-30"), ("dmy_dots", "31.04.2024"), ("us_slashes", "02/30/2024")):
        service = untightened(plain_service("workshop", date_style=style))
        tool = service.tools["search_tools"]
        with pytest.raises(RecordError):
            read_arguments(service.surface, tool, {tool.params["bought_from"].path[0]: text})
    shown = show_arguments(service.surface, tool, {"bought_from": TODAY})
    assert shown == {"bought_from": "06/03/2024"}


def test_a_dropped_parameter_is_shown_in_its_usual_place():
    """So that a call under the sibling reads alike."""
    for service in services():
        for tool in service.tools.values():
            for tightening in tool.tightenings:
                if tightening.startswith("drop:"):
                    name = tightening.partition(":")[2]
                    item = next(item for item in tool.operation.inputs if item.name == name)
                    if item.spec.kind in ("boolean", "choice"):
                        value = True if item.spec.kind == "boolean" else item.spec.options[0]
                        shown = show_arguments(service.surface, tool, {name: value})
                        found = [violation.fault for violation in faults(tool.definition.parameters, shown)]
                        assert "schema.unknown" in found
                        return
    raise AssertionError("no dropped parameter was drawn")


def test_nested_and_grouped_arguments_have_their_group():
    """Even when only optional members are left out."""
    for nesting in ("wrapped", "grouped"):
        service = untightened(plain_service("workshop", 2, nesting=nesting))
        tool = service.tools["move_tools"]
        shown = show_arguments(service.surface, tool, {"tools": ["T1"], "to": "S2"})
        assert validator(tool.definition.parameters).is_valid(shown)
        assert len(shown) == (1 if nesting == "wrapped" else 2)


def test_the_plain_convention_is_a_known_one():
    """The factors the other tests rest on."""
    assert plain_service().convention.factors.items() >= NEUTRAL.items()

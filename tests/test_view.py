"""What a row shows of an opening: modes, budgets, the rule for ids not listed, counts and the next ids."""

from random import Random

import pytest
from worlds import NOW, WORLD, draw_instance, grow, plain_service, state

from carg.records import Op
from carg.world.state import State
from carg.world.view import (
    BUDGETS,
    MODES,
    MOST_RECORDS,
    RULES,
    View,
    draw_view,
    patch_tables,
    service_tables,
    show_view,
    view_of,
)

COUNTER = service_tables(WORLD, "counter")
SURFACE = plain_service().surface


def draw(mode, needed=(), scanned=(), *, on=None, seed=1):
    return draw_view(SURFACE, on or state(), COUNTER, list(needed), scanned, Random(seed), mode=mode)


def test_a_service_sees_the_tables_its_tools_touch():
    """Those of its offers and what they refer to, in the order of the file."""
    assert COUNTER == ("shed", "tool", "member", "loan")
    assert "member" not in service_tables(WORLD, "workshop")


def test_a_full_view_lists_everybody():
    """And says so."""
    view = draw("full")

    assert view == View("full", {name: tuple(sorted(state().tables[name])) for name in COUNTER}, "closed", True)


def test_a_full_view_that_is_too_large_becomes_a_partial_one():
    """Within its budget."""
    grown = grow(draw_instance(1, "workshop"))
    large = State({name: dict(table) for name, table in grown.tables.items()}, grown.now)
    for number in range(60):
        large.tables["member"][f"X{number}"] = next(iter(large.tables["member"].values()))
    assert draw("full", on=large).mode == "partial"


def test_hidden_views_show_no_record():
    """A summary counts and names the next ids; a withheld one tells nothing."""
    assert draw("withheld") == View("withheld", {}, "open", False)
    assert draw("summary") == View("summary", dict.fromkeys(COUNTER, ()), "open", True)


def test_a_partial_view_shows_what_is_needed_first():
    """Then distractors, within records and characters."""
    instance = draw_instance(1, "workshop")
    there = grow(instance)
    cells = [(name, key) for name in COUNTER for key in there.tables[name]]
    grown = State(there.tables, NOW)
    for seed in range(20):
        needed = Random(seed).sample(cells, 6)
        view = draw("partial", needed, on=grown, seed=seed)
        shown = {(name, key) for name, keys in view.ids.items() for key in keys}
        assert set(needed) <= shown
        assert len(shown) <= MOST_RECORDS
        assert sum(len(repr(there.tables[name][key])) for name, key in shown) <= 2 * max(BUDGETS)


def test_a_small_table_that_was_looked_through_is_shown_whole():
    """So that the answer is determined."""
    for seed in range(10):
        assert draw("partial", scanned=["member"], seed=seed).ids["member"] == ("M1", "M2")


def test_where_the_next_id_cannot_be_told_it_is_not():
    """Random ids have no order."""
    surface = plain_service(id_style="uuid").surface
    view = draw_view(surface, state(), COUNTER, [], [], Random(1), mode="full")
    assert view.counters is False


def test_modes_are_drawn_by_share():
    """Every mode, and both rules of partial views."""
    drawn = [draw(None, seed=seed) for seed in range(400)]
    counts = {mode: sum(view.mode == mode for view in drawn) / 400 for mode in MODES}

    assert all(abs(counts[mode] - share) < 0.07 for mode, share in MODES.items())
    assert {view.rule for view in drawn if view.mode == "partial"} == {"open", "closed"}


@pytest.mark.parametrize("mode", list(MODES))
def test_a_view_is_stored_as_it_is(mode):
    """To JSON and back."""
    assert view_of(draw(mode).to_json()) == draw(mode)


def test_how_a_view_is_shown():
    """Counts, next ids, rows under one header, who is not shown, the rule."""
    view = View("partial", {"shed": (), "tool": (), "member": ("M2",), "loan": ()}, "closed", True)

    assert show_view(SURFACE, state(), COUNTER, view).splitlines() == [
        "sheds: 2, next id SHD-0003, not shown: S1, S2",
        "tools: 3, next id TOL-0004, not shown: T1, T2, T3",
        "members: 2, next id MEM-0003, not shown: M1",
        "id | name | email | phone | tier | points | joined | loans | fees",
        "M2 | Kim M2 | M2@post.example | - | plain | 5 | 2024-03-05 | 0 | 0.0",
        "loans: 1, next id LON-0002, not shown: L1",
        RULES["closed"],
    ]


def test_a_summary_counts_by_status_and_says_the_rule():
    """No ids."""
    view = View("summary", dict.fromkeys(COUNTER, ()), "open", False)

    assert show_view(SURFACE, state(), COUNTER, view).splitlines() == [
        "sheds: 2",
        "tools: 3 (1 lent, 2 ready)",
        "members: 2",
        "loans: 1 (1 open)",
        RULES["open"],
    ]
    assert (
        show_view(SURFACE, state(), COUNTER, View("withheld", {}, "open"))
        == "Records are not shown. Ids that were not deleted exist."
    )


def test_cells_cannot_break_their_row():
    """Bars and line breaks are replaced, lists and objects are JSON."""
    there = state()
    there.tables["tool"] = {"T1": {**there.tables["tool"]["T1"], "note": "a|b\nc"}}
    shown = show_view(SURFACE, there, ["tool"], View("partial", {"tool": ("T1",)}, "open")).splitlines()

    assert shown[2].count(" | ") == shown[1].count(" | ")
    assert '["wood"]' in shown[2]
    assert "a/b c" in shown[2]


def test_a_patch_lies_over_the_opening():
    """Records replaced, added, removed; the opening stays."""
    tables = state().tables
    patch = (Op("tool", "T1", None), Op("tool", "T2", {"id": "T2"}), Op("member", "M3", {"id": "M3"}))
    patched = patch_tables(tables, patch)

    assert sorted(patched["tool"]) == ["T2", "T3"]
    assert patched["member"]["M3"] == {"id": "M3"}
    assert tables == state().tables

"""The check of domain files: a sound small world has no fault but its size; each spoiled one has exactly its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from small_world import TEXT

from carg.domain_check import DomainReport, check_domain
from carg.domain_check.findings import Findings, say_report
from carg.domain_check.formulas import check_formulas
from carg.domain_check.static import check_counts, check_fields, check_lives, check_operations
from carg.domain_check.trials import check_states, draw_trials
from carg.world.load import load_world_text
from carg.world.model import World

SIZE_FAULTS = [
    "tools.toml: [file] 23 tools; a world has 67 or more",
    "tools.toml: [file] 9 of 23 tools are authored; add 1 actions, formulas or tables",
    "tools.toml: [actions] 6 actions; a records world has 15 or more",
]
LAST = 'is = "sqrt(energy * (1 - brake))", decimals = 3, unit = "m/s"'
COUNT_RULE = 'that = "count < most_loans"'


def spoil(*pairs: tuple[str, str]) -> str:
    """The small world with some texts replaced."""
    text = TEXT
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


def world_of(text: str) -> World:
    return load_world_text(text.encode(), Path("culture/tools.toml"))


def static_findings(text: str) -> Findings:
    """What the file alone tells of a world."""
    found, world = Findings("tools.toml"), world_of(text)
    check_operations(found, world)
    check_lives(found, world)
    check_fields(found, world)
    return found


def formula_faults(text: str) -> list[str]:
    """The faults of the formulas of a world."""
    found = Findings("tools.toml")
    check_formulas(found, world_of(text))
    return list(found.faults)


def check(folder: Path, text: str, *, services: int = 8, executions: int = 240) -> DomainReport:
    """The whole check of a world written to a folder."""
    path = folder / "culture" / "tools.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return check_domain(path, services=services, executions=executions)


def own_faults(report: DomainReport) -> list[str]:
    return [fault for fault in report.faults if fault not in SIZE_FAULTS]


# Counts and the file's own graph ------------------------------------------------------------------------------------


def test_counts_of_a_small_world_are_faults() -> None:
    """Too few tools, too few of them authored, too few actions: each is said with its number."""
    found = Findings("tools.toml")
    check_counts(found, world_of(TEXT))

    assert list(found.faults) == SIZE_FAULTS
    assert found.tables["tools by kind"]["all"] == "23, 39% authored"


def test_a_sound_graph_has_no_fault() -> None:
    """Ways into each state, distinct codes, callers for each tool."""
    assert static_findings(TEXT).faults == {}


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (
            "scrapped = []}",
            "scrapped = [], stolen = []}",
            "[resources.tool.fields.status] nothing ever leads to 'stolen': no action has moves = \"... -> stolen\" or "
            "sets it; add one, or take the state out",
        ),
        (
            'moves = "open -> closed"',
            'moves = "open | closed"',
            "[actions.bring_back.moves] lists every state, so it refuses nothing: leave moves out, or some states",
        ),
        (
            'code = "deposit_too_small"\nfield = "member"',
            'code = "too_many_loans"\nfield = "member"',
            "[actions.lend] 2 rules have the code 'too_many_loans'; each error needs its own, or one rule",
        ),
        (
            'roles = ["keeper", "helper"]',
            'roles = ["helper"]',
            "[actions.repair] repair is for keeper, but workshop is called by helper: nobody can call it",
        ),
    ],
)
def test_a_spoiled_graph_is_named(old: str, new: str, fault: str) -> None:
    """The fault says the entry, what is wrong and what to do."""
    assert f"tools.toml: {fault}" in static_findings(spoil((old, new))).faults


def test_fields_that_no_action_writes_are_named() -> None:
    """A number that actions may write, and none does, is a warning; one set at creation only, a row."""
    found = static_findings(spoil(('"tool.repairs" = "min(50, tool.repairs + 1)"', "")))

    assert list(found.warnings) == [
        "tools.toml: [resources.tool.fields.repairs] no action raises or lowers this number; let one set it, or change "
        "written_by"
    ]


# Formulas -----------------------------------------------------------------------------------------------------------


def test_a_sound_formula_has_no_fault() -> None:
    """Example, dimensions, solution and values of the small world's formula agree."""
    assert formula_faults(TEXT) == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (
            "speed = 6.263,",
            "speed = 6.264,",
            "speed: 6.264 is stated, 6.263 is computed from `sqrt(energy * (1 - brake))`",
        ),
        ("dangerous = false }", "dangerous = true }", "dangerous: True is stated, False is computed"),
        ("height = 2.0, brake = 0.0", "height = 9.0, brake = 0.0", "9.0 is outside the input's own range 0.5 to 4"),
        ("height = 2.0, brake = 0.0", "height = 0.5, brake = 0.0", "breaks the formula's own rule too_low"),
        (LAST, 'is = "sqrt(height - 2) * 3", decimals = 3', "cannot be computed for height ="),
        (LAST, 'is = "exp(100 * height)", decimals = 3', "narrow the inputs or add a rule"),
        (LAST, 'is = "(height - 2) ** 2", decimals = 3', "both rises and falls with height between 0.5 and 4"),
    ],
)
def test_a_spoiled_formula_is_a_fault(old: str, new: str, fault: str) -> None:
    """A wrong example, an impossible value, two solutions: each is named."""
    found = formula_faults(spoil((old, new)))

    assert any(fault in line for line in found), found
    assert all("[formulas.drop_speed" in line for line in found)


@pytest.mark.parametrize(
    ("source", "unit", "fault"),
    [
        ("sqrt(2 * gravity * height)", "m/s", None),
        ("sqrt(2 * gravity * height)", "km/hour", None),
        ("sqrt(2 * gravity * height)", "m", "has the dimension [length]*[time]^-1, its unit 'm' [length]"),
        ("height + 3", "m", "`height` ([length]) and `3` (none) do not add"),
        ("height + 0", "m", None),
        ("height * brake + height ** 2 / height", "m", None),
        ("height ** (3 - 2)", "m", None),
        ("2 ** height", "", "the exponent `height` has a dimension"),
        ("exp(height)", "", "exp needs a plain number, `height` has the dimension [length]"),
        ("min(height, gravity)", "m", "`height` ([length]) and `gravity` ([length]*[time]^-2) do not add"),
        ("height if brake > 0.2 else gravity", "m", "do not add"),
        ("height if height > 2 else 0", "m", None),
        ("brake if height > gravity else 0", "", "cannot be compared"),
        ("hypot(height, 2 * height)", "m", None),
        ("cbrt(height ** 3)", "m", None),
        ("solve(x ** 2 - height ** 2, x, height / 9, 9 * height)", "m", None),
        ("total(i * height, i, 1, 3)", "m", None),
        ("day_fee * 2", "EUR/day", None),
        ("day_fee * 2", "EUR", "its unit 'EUR' [EUR]"),
        ("height", "m^^s", "unit 'm^^s' cannot be read"),
        ("pi * brake", "", None),
    ],
)
def test_dimensions_are_compared(source: str, unit: str, fault: str | None) -> None:
    """Each output has the dimension of its unit; sums, exponents and functions take what they can."""
    output = f'is = "{source}", decimals = 3, unit = "{unit}"'
    found = [
        line for line in formula_faults(spoil((LAST, output))) if ".example]" not in line and ".solve]" not in line
    ]

    assert len(found) == (fault is not None), found
    assert fault is None or fault in found[0]


def test_empirical_formulas_have_no_dimensions() -> None:
    """An author may say that the numbers, not the units, were fitted."""
    text = spoil((LAST, 'is = "height + 3", decimals = 3, unit = "m/s"'), ("speed = 6.263,", "speed = 5.0,"))

    assert len(formula_faults(text)) == 1
    assert formula_faults(text.replace('sweep = ["height"]', 'sweep = ["height"]\nempirical = true')) == []


def test_without_pint_dimensions_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check goes on and says what to install."""
    monkeypatch.setitem(sys.modules, "pint", None)
    found = Findings("tools.toml")
    check_formulas(found, world_of(TEXT))

    assert list(found.warnings) == ["tools.toml: [formulas] dimensions were not checked: pip install pint"]


# Grown and called ---------------------------------------------------------------------------------------------------


def test_the_small_world_is_sound_but_for_its_size(tmp_path: Path) -> None:
    """No fault but the counts; tables say what was grown, called and reached; twice the same."""
    report = check(tmp_path, TEXT)

    assert report.faults == SIZE_FAULTS
    assert set(report.tables) >= {"tools by kind", "records in grown states", "random calls", "errors reached"}
    assert report.tables["errors reached"]["rules"] == "12"
    assert check(tmp_path, TEXT) == report


@pytest.mark.parametrize(
    ("old", "new", "faults"),
    [
        (
            COUNT_RULE,
            'that = "count <= 99"',
            ["[actions.lend.require] lend: too_many_loans `count <= 99` was never reached"],
        ),
        (
            COUNT_RULE,
            'that = "count > 99"',
            [
                "[actions.lend] lend has no valid call in any of 4 services; what stood in the way: too_many_loans",
                "[actions.lend.require] lend: too_many_loans `count > 99` refused all of",
            ],
        ),
        (
            '"loan.fee" = "min(500, loan.fee + late * day_fee)"',
            '"loan.fee" = "700"',
            ["[actions.bring_back] bring_back: loan.fee, {'got': 700.0, 'keyword': 'maximum',"],
        ),
        (
            '"loan.tool.status" = "\'shelved\'"',
            '"loan.tool.status" = "\'broken\'"',
            ["[actions.bring_back] bring_back takes a tool from 'lent' to 'broken', a step"],
        ),
    ],
)
def test_a_spoiled_world_has_its_own_faults(tmp_path: Path, old: str, new: str, faults: list[str]) -> None:
    """Rules never or always hit, bodies outside their schema, steps outside the life cycle, broken invariants."""
    found = own_faults(check(tmp_path, spoil((old, new))))

    for fault in faults:
        assert any(fault in line for line in found), found


def test_broken_invariants_are_a_fault() -> None:
    """A grown state with a record against its invariant is told with the number of records."""
    found, world = Findings("tools.toml"), world_of(TEXT)
    trials = draw_trials(world, 2)
    check_states(found, world, trials)
    assert found.faults == {}

    members = trials[0].opening.tables["member"]
    key = next(iter(members))
    members[key] = {**members[key], "deposit": -1.0}
    check_states(found, world, trials)

    assert [line.partition(" records")[0] for line in found.faults] == [
        "tools.toml: [resources.member.always] member_inconsistent does not hold for 1"
    ]


def test_what_dies_out_is_a_warning(tmp_path: Path) -> None:
    """A state in which nearly all records end is told with its share."""
    report = check(tmp_path, TEXT)

    assert any(
        "[resources.loan.fields.status]" in line and "of the loans are 'closed'" in line for line in report.warnings
    )


# Files --------------------------------------------------------------------------------------------------------------


def test_a_file_that_does_not_load_gives_its_faults(tmp_path: Path) -> None:
    """All of the loader's faults, and nothing is grown."""
    report = check(tmp_path, spoil(("pace = 0.08", "pace = 8"), ('shape = "heaped"', 'shape = "heap"')))

    assert len(report.faults) == 2
    assert report.tables == {}
    assert not report.is_sound


def test_a_seed_is_checked_as_a_seed(tmp_path: Path) -> None:
    """A file without a world is judged for its form only."""
    path = tmp_path / "seed.toml"
    path.write_text(TEXT.split('kind = "records"')[0])

    assert check_domain(path) == DomainReport(path, [], [], {})


def test_a_report_reads_from_tables_to_verdict() -> None:
    """Tables first, then warnings, faults, verdict."""
    found = Findings("x.toml")
    found.row("counts", "all", "3")
    found.warn("a", "is odd")
    found.fault("b", "is wrong")

    assert say_report(found.report(Path("x.toml"))).splitlines() == [
        "== x.toml",
        "-- counts",
        "   all  3",
        "warning: x.toml: [a] is odd",
        "FAULT: x.toml: [b] is wrong",
        "x.toml: NOT SOUND; 1 faults, 1 warnings",
    ]

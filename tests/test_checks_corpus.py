"""Corpus checks drop duplicates, floods and benchmark copies, and nothing else, in any order of reading."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from scenes import play, render

from carg.checks.corpus import (
    Signature,
    benchmark_overlap,
    exact_duplicates,
    near_duplicates,
    over_cap,
    sign_row,
    sign_tool,
    sketch,
)
from carg.records import Tool

WORDS = [f"word{number}" for number in range(2_000)]


def essay(seed: int, n_words: int = 120) -> list[str]:
    """Random words."""
    return Random(seed).choices(WORDS, k=n_words)


def sign(id_: str, words: list[str], kin: str = "", group: str = "g") -> Signature:
    """A signature of a text."""
    text = " ".join(words)
    return Signature(id_, text, sketch(text), group, kin)


def tool(id_: str, name: str, about: str, **changes: object) -> Tool:
    """A tool with one parameter."""
    parameters = {"type": "object", "properties": {"city": {"type": "string", "description": "Name of the city."}}}
    made = Tool(id_, "weather", "stations", name, name, about, parameters, None, "read")
    return replace(made, **changes)


def test_of_equal_records_the_smallest_id_stays() -> None:
    """Duplicates go, whatever the order they come in."""
    signatures = [sign("c", essay(1)), sign("a", essay(1)), sign("b", essay(2))]

    assert exact_duplicates(signatures) == exact_duplicates(signatures[::-1]) == {"c": "the same as a"}


def test_near_duplicates_are_found_and_others_left_alone() -> None:
    """A few changed words are not enough to be new; half of them are."""
    base = essay(1)
    near, far = [*base[:60], "new", *base[61:]], [*base[:60], *essay(2, 60)]
    signatures = [sign("a", base), sign("b", near), sign("c", far)]

    assert near_duplicates(signatures) == {"b": "much like a"}
    assert near_duplicates([signatures[1], signatures[2]]) == {}


def test_kin_are_alike_on_purpose() -> None:
    """Two halves of a pair, or two variants of a tool, are both kept; a stranger as much alike is not."""
    base = essay(1)
    signatures = [sign("a", base, "pair"), sign("b", [*base[:-1], "end"], "pair"), sign("c", [*base, "more"])]

    assert list(near_duplicates(signatures)) == ["c"]


@given(st.integers(0, 10_000), st.integers(1, 119))
def test_the_sketch_estimates_jaccard(seed: int, cut: int) -> None:
    """The share of equal values is within five standard errors of the true share of 3-shingles."""
    one, other = essay(seed), [*essay(seed)[:cut], *essay(seed + 1, 120 - cut)]
    shingles = [{tuple(text[at : at + 3]) for at in range(118)} for text in (one, other)]
    true = len(shingles[0] & shingles[1]) / len(shingles[0] | shingles[1])
    sketches = [bytes.fromhex(sketch(" ".join(text))) for text in (one, other)]
    equal = sum(sketches[0][at : at + 4] == sketches[1][at : at + 4] for at in range(0, 256, 4)) / 64

    assert abs(equal - true) < 5 * 0.0625


def test_a_sketch_is_the_same_in_every_process() -> None:
    """Sketches are stored and compared across runs, so one value is fixed here."""
    assert sketch("") == sketch("!")
    assert sketch("Get the weather of a city")[:32] == "233e42964fb4ac5d0109144964a2db3d"


def test_a_flood_of_lookalikes_takes_linear_time() -> None:
    """Ten thousand copies of one record are compared with a handful each."""
    flood = [replace(sign("a", essay(1)), id=f"r{number:05d}") for number in range(10_000)]

    assert len(near_duplicates(flood)) == 9_999


def test_benchmark_copies_go() -> None:
    """A record equal to, or much like, one of a benchmark is dropped; the benchmark itself is not judged."""
    base = essay(1)
    signatures = [sign("a", base), sign("b", [*base[:-1], "end"]), sign("c", essay(2))]

    assert benchmark_overlap(signatures, [sign("bfcl-7", base)]) == {
        "a": "in a benchmark: bfcl-7",
        "b": "in a benchmark: bfcl-7",
    }
    assert benchmark_overlap(signatures, []) == {}


def test_a_cap_draws_fairly_and_the_same_each_time() -> None:
    """No group keeps more than the cap, and which ids go does not depend on the order."""
    signatures = [sign(f"r{number}", [], group="ab"[number % 2 if number < 8 else 0]) for number in range(20)]
    drops = over_cap(signatures, cap=4)

    assert drops == over_cap(signatures[::-1], cap=4)
    assert len(drops) == 12
    assert set(drops.values()) == {"a has 16, the cap is 4"}


def test_tools_are_compared_by_name_description_and_parameters() -> None:
    """A tool said in the same words is a duplicate under any id; a variant of it is not."""
    words = (
        "Current temperature, wind and cloud cover at the weather station nearest to the centre of a city, with the"
        " time of the reading, the height of the station above the sea, and a forecast for the next three hours."
    )
    signatures = [
        sign_tool(tool("t1", "get_weather", words)),
        sign_tool(tool("t2", "get_weather", words, title="Weather now")),
        sign_tool(tool("t3", "get_weather", words[:-1] + " now.", variant_of="t1", variant="weak")),
        sign_tool(tool("t5", "get_weather", words[:-1] + " today.")),
        sign_tool(tool("t4", "list_stations", "Stations of the national network with their heights.")),
    ]

    assert exact_duplicates(signatures) == {"t2": "the same as t1"}
    assert list(near_duplicates(signatures)) == ["t2", "t5"]


def test_rows_of_one_service_with_other_calls_are_no_duplicates() -> None:
    """Only what was said counts for likeness, the shared system text does not."""
    rows = [render(play(("get_book", {"id": key}))) for key in ("B-100", "B-107", "B-100")]
    signatures = [sign_row(replace(row, id=f"r{place}")) for place, row in enumerate(rows)]

    assert signatures[0].group == "library/desk"
    assert exact_duplicates(signatures) == {"r2": "the same as r0"}
    assert list(near_duplicates(signatures, threshold=0.9)) == ["r2"]

"""What the checks share: leaves, names, records, and the ledger of what was told before."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes import DEFINITIONS, REFEREES, alter, open_library, patch, play

from carg.checks import read_scene
from carg.checks.ledger import contradictions
from carg.checks.views import agrees, by_last_name, is_same, leaves, plain, shown_records
from carg.records import Directive, Exchange, Response, ToolError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_a_value_is_the_same_as_itself(value: object) -> None:
    """Every JSON value equals itself, and differs from it in a list."""
    assert is_same(value, value)
    assert not is_same(value, [value])


@pytest.mark.parametrize(
    ("one", "other", "same"), [(1, 1.0, True), (1, True, False), ("1", 1, False), (0, None, False)]
)
def test_equal_means_equal_as_json(one: object, other: object, same: bool) -> None:
    """A whole float is the integer; a boolean is not a number."""
    assert is_same(one, other) is same


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (4.5, "4.50", True),
        (4.5, "4.51", False),
        ("2024-05-03", "20240503", True),
        ("2024-05-03", "03.05.2024", True),
        ("05/03/2024", "2024-05-03T10:00:00Z", True),
        ("05/03/2024", "2024-05-04T10:00:00Z", False),
        ("2024-05-03 10:00:01", "2024-05-03T10:00:00Z", False),
        (1714694400, "2024-05-03", True),
        ("abc", 3, False),
        ("abc", "ABC", False),
        (None, 3, False),
        (True, 1, False),
    ],
)
def test_values_agree_across_styles(one: object, other: object, same: bool) -> None:
    """Numbers as strings and dates in other styles are the same value; a text is only ever itself."""
    assert agrees(one, other) is agrees(other, one) is same


@given(JSON)
def test_leaves_are_all_the_scalars(value: object) -> None:
    """As many leaves as a recursive count finds."""

    def count(item: object) -> int:
        if isinstance(item, dict):
            return sum(map(count, item.values()))
        return sum(map(count, item)) if isinstance(item, list) else 1

    assert len(list(leaves(value))) == count(value)


def test_names_and_paths() -> None:
    """Names lose case and joints; a name that stands twice is left out."""
    assert plain("pageSize") == plain("page_size") == plain("Page-Size")
    assert by_last_name({"a": {"id": 1}, "b": {"id": 2}, "min_kg": 3}, {}) == {"minkg": 3}
    assert by_last_name({"filter.id": 1}, {}) == {"id": 1}


def test_parts_of_an_object_parameter_are_not_arguments() -> None:
    """Where the parameters are known, the name of a contact does not pass for the name of the record."""
    arguments = {"input": {"label": "Mill Farm", "contact": {"name": "Ana"}}}
    inputs = {"input.label": "label", "input.contact": "contact"}

    assert by_last_name(arguments, inputs) == {"label": "Mill Farm"}


def test_records_are_found_by_the_id_of_their_resource() -> None:
    """A list of records has no id path of its own; the tool that shows one record tells the name."""
    body = {"books": [{"id": "B-1", "title": "x"}, {"title": "no id"}], "total": 2}

    assert list(shown_records(DEFINITIONS["search_books"], body, {"book": "id"})) == [("B-1", body["books"][0])]
    assert list(shown_records(DEFINITIONS["search_books"], body, {"book": "title"})) == [
        ("x", body["books"][0]),
        ("no id", body["books"][1]),
    ]
    assert list(shown_records(DEFINITIONS["get_book"], {"id": "B-1"}, {})) == [("B-1", {"id": "B-1"})]
    assert list(shown_records(DEFINITIONS["get_book"], None, {})) == []


def found(*steps: tuple[str, dict[str, object]], at: int | None = None, **fields: object) -> dict[str, str]:
    """The contradictions of a session, with one body changed."""
    scene = play(*steps)
    return contradictions(read_scene(scene if at is None else patch(scene, at, **fields), REFEREES).turns)


GET = ("get_book", {"id": "B-121"})
UPDATE = ("update_book", {"id": "B-121", "pages": 4})
OTHER = ("update_book", {"id": "B-107", "pages": 4})


def test_a_repeated_read_may_change_after_a_write_only() -> None:
    """The same read with a write between is judged by facts, not as a repetition."""
    assert found(GET, GET, at=1, note="new") == {
        "repeat_read": "turn 1: the same read got another answer, with no write between"
    }
    assert list(found(GET, OTHER, GET, at=2, note="new")) == ["history"]


def test_an_action_may_change_the_record_that_it_names_and_no_other() -> None:
    """Facts of the record are forgotten, those of others stay; a refused action changes nothing."""
    shelved = next(key for key, book in open_library().tables["book"].items() if book["state"] == "shelved")
    look, lend, browse = ("get_book", {"id": shelved}), ("lend_book", {"id": shelved}), ("search_books", {"limit": 50})

    assert found(look, lend, browse, at=0, note="old") == {}
    assert list(found(look, ("lend_book", {"id": "B-9"}), browse, at=0, note="old")) == ["history"]
    assert list(found(look, OTHER, browse, at=0, note="old")) == ["history"]


def test_an_update_holds_what_was_given() -> None:
    """A later read that shows the old value contradicts the write."""
    assert list(found(UPDATE, GET, at=1, pages=5)) == ["read_after_write"]
    assert found(UPDATE, GET) == {}


def test_a_deleted_record_stays_deleted() -> None:
    """A write on a deleted record that succeeds is a contradiction too."""
    scene = play(("delete_book", {"id": "B-121"}), GET)
    alive = play(GET).session.exchanges[0]

    assert list(contradictions(read_scene(alter(scene, 1, lambda _item: alive), REFEREES).turns)) == [
        "delete_then_read"
    ]
    assert found(("delete_book", {"id": "B-121"}), GET, UPDATE) == {}


def lose(item: Exchange) -> Exchange:
    """The exchange answered with not found."""
    error = ToolError("book_not_found", "state.not_found", 404, "No book.", "id")
    return Exchange(
        item.call, Response(False, '{"error":{"code":"book_not_found","message":"No."}}', None, error), "teacher"
    )


def test_a_record_that_was_shown_is_not_lost() -> None:
    """Not found, after a read or a write showed it, contradicts that read or write."""
    after_read = alter(play(GET, OTHER, GET), 2, lose)
    after_write = alter(play(UPDATE, GET), 1, lose)

    assert list(contradictions(read_scene(after_read, REFEREES).turns)) == ["history"]
    assert list(contradictions(read_scene(after_write, REFEREES).turns)) == ["read_after_write"]


def test_degraded_answers_bind_nobody() -> None:
    """A stale answer may show old values, and is no fact for later."""
    stale = alter(
        patch(play(UPDATE, GET, GET), 1, pages=100),
        1,
        lambda item: Exchange(item.call, item.response, "teacher", directive=Directive("stale", {}, 1)),
    )

    assert contradictions(read_scene(stale, REFEREES).turns) == {}

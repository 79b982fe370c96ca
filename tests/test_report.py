"""The report of a run: numbers for programs, a page for people that cannot be broken by what tools say."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import orjson
import pytest
from scenes import REFEREES, patch, play, render

from carg.errors import StoreError
from carg.filter import filter_run
from carg.report import count_tables, write_report
from carg.stats import Table

EVIL = "</pre><script>alert(1)</script>"


class Tags(HTMLParser):
    """The names of all tags of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, _attrs: object) -> None:
        self.seen.append(tag)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of two sessions, one of them dropped."""
    scenes = [play(("get_book", {"id": "B-100"})), patch(play(("get_book", {"id": "B-107"})), 0, note=f"TODO {EVIL}")]
    filter_run(scenes, tmp_path / "first", render=render, referees=REFEREES)
    return tmp_path / "first"


def test_the_page_shows_counts_reasons_rows_and_rejects(run: Path) -> None:
    """One file without links or scripts; what a tool said is text and never markup."""
    page = write_report(run, tables=[Table("Leaks", ("class", "auc"), (("rule.limit", None),))], about={"seed": 7})
    text = page.read_text()
    tags = Tags()
    tags.feed(text)

    assert {"script", "link", "img"} & set(tags.seen) == set()
    assert "<h2>Leaks</h2>" in text
    assert "<td>seed\n" not in text
    assert "<tr><td>seed<td class=n>7" in text
    assert "<tr><td>placeholders<td class=n>1<td>" in text
    assert "&lt;/pre&gt;&lt;script&gt;" in text
    assert "simulator/train: session of library/desk, valid" in text


def test_report_json_holds_the_same_tables(run: Path) -> None:
    """Programs read the counts by heading, with shares of what was read."""
    write_report(run)
    whole = orjson.loads((run / "report.json").read_bytes())
    rows = next(table for table in whole["tables"] if table["title"] == "Rows")

    assert sorted(rows["rows"]) == [["dropped", 1, 0.5], ["kept", 1, 0.5], ["read", 2, 1.0]]
    assert whole["filter"]["counts"]["reason/placeholders"] == 1


def test_a_run_that_is_not_filtered_has_no_report(tmp_path: Path) -> None:
    """The error says what to run first."""
    with pytest.raises(StoreError, match=r"no filter\.json") as caught:
        write_report(tmp_path)

    assert "carg filter" in caught.value.hint


def test_an_empty_run_has_an_empty_report(tmp_path: Path) -> None:
    """Nothing in, nothing but the table of reasons out."""
    found = filter_run([], tmp_path, render=render, referees=REFEREES)

    assert count_tables(found) == [Table("Dropped, by reason", ("reason", "records", "for example"), ())]
    assert write_report(tmp_path).exists()

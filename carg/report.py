"""What a run made, in two files: report.json for programs, report.html for people, which needs nothing but itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from itertools import islice
from pathlib import Path

import orjson

from carg.encoding import from_json
from carg.errors import StoreError
from carg.filter import FilterReport, Reject
from carg.records import Json
from carg.splits import SPLITS
from carg.stats import Table, share
from carg.store import read_parts, write_atomic

N_ROWS = 2
"""Rows shown of each split."""
N_REJECTS = 20
MOST_CHARS = 4_000
"""Longer texts are cut in the page; the shards have them whole."""

HEADINGS = {
    "rows": "Rows",
    "exchanges": "Exchanges",
    "split": "Exchanges by split",
    "mix": "Exchanges by mix",
    "kind": "Exchanges by kind",
    "label": "Exchanges by label",
    "fault": "Exchanges by first fault",
    "truth": "Exchanges by truth",
    "shard": "Rows by shard",
}

_STYLE = """
:root { color-scheme: light dark; --line: #8883; --soft: #8881; --answer: #2a82; --bar: #48f4; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin: 0; } h2 { font-size: 1.05rem; margin: 0 0 .4rem; }
.tables { display: flex; flex-wrap: wrap; gap: 1.2rem; align-items: flex-start; margin: 1.5rem 0; }
section { border: 1px solid var(--line); border-radius: .4rem; padding: .8rem 1rem; overflow-x: auto; }
table { border-collapse: collapse; } th { text-align: left; font-weight: 600; }
td, th { padding: .15rem .8rem .15rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; padding-left: .6rem; }
td.share { background: linear-gradient(90deg, var(--bar) var(--part), transparent var(--part)); min-width: 5rem; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: .2rem 0; padding: .5rem; background: var(--soft); }
pre::before { display: block; font: 12px system-ui, sans-serif; opacity: .7; }
pre.system::before { content: "system"; } pre.user::before { content: "call"; }
pre.assistant::before { content: "answer, in the loss"; } pre.context::before { content: "answer, context only"; }
pre.assistant { background: var(--answer); } pre.context { background: var(--soft); opacity: .7; }
details { margin: .3rem 0; } summary { cursor: pointer; }
"""


def write_report(run: Path, *, tables: Sequence[Table] = (), about: Mapping[str, Json] | None = None) -> Path:
    """The path of report.html, when it and report.json are written into the folder of the run.

    `tables` are what `stats` measured, `about` is said at the top (seed, config, backend). Raises StoreError when the
    run is not filtered yet.
    """
    found = read_filter_report(run)
    measured = [*count_tables(found), *tables]
    whole = {"about": dict(about or {}), "filter": found, "tables": measured}
    write_atomic(
        run / "report.json", [orjson.dumps(whole, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS), b"\n"]
    )
    page = "\n".join(_page(run, found, measured, about or {}))
    write_atomic(run / "report.html", [page.encode("utf-8", "replace")])
    return run / "report.html"


def read_filter_report(run: Path) -> FilterReport:
    """The report that `filter` left in the folder of a run. Raises StoreError when there is none."""
    try:
        return from_json(FilterReport, (run / "filter.json").read_bytes())
    except OSError as fault:
        raise StoreError(f"{run} has no filter.json", "run `carg filter` first") from fault


def count_tables(found: FilterReport) -> list[Table]:
    """The counts of the filter as tables, each value with its share of the table; then the reasons with samples."""
    tables = []
    for head, title in HEADINGS.items():
        counts = {name.partition("/")[2]: n for name, n in found.counts.items() if name.startswith(f"{head}/")}
        whole = counts.get("read") or sum(counts.values())
        rows = tuple((name, n, share(n, whole)) for name, n in sorted(counts.items(), key=lambda item: -item[1]))
        if rows:
            tables.append(Table(title, (head, "count", "share"), rows))
    reasons = {name.partition("/")[2]: n for name, n in found.counts.items() if name.startswith("reason/")}
    samples = tuple(
        (name, n, ", ".join(found.samples.get(name, ())))
        for name, n in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    )
    return [*tables, Table("Dropped, by reason", ("reason", "records", "for example"), samples)]


def _page(run: Path, found: FilterReport, tables: Sequence[Table], about: Mapping[str, Json]) -> Iterator[str]:
    yield "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
    yield f"<title>{escape(run.name)}: what the filter kept</title><style>{_STYLE}</style>"
    yield f"<h1>{escape(run.name)}</h1><p>{_headline(found)}</p>"
    yield f"<p>Digest of the rows: <code>{escape(found.digest)}</code></p><div class=tables>"
    for table in (*((Table("About", ("setting", "value"), tuple(about.items())),) if about else ()), *tables):
        yield from _table(table)
    yield "</div><h2>Rows</h2>"
    for split in SPLITS:
        yield from _rows(run, split)
    yield "<h2>Rejects</h2>"
    rejects = (item for stem in ("rejected", "corpus") for item in read_parts(Reject, run / "rejected", stem))
    yield from (_reject(item) for item in islice(rejects, N_REJECTS))


def _headline(found: FilterReport) -> str:
    read, kept = (found.counts.get(f"exchanges/{name}", 0) for name in ("read", "kept"))
    said = "Below: what they are, some rows as they are trained on, and what was dropped and why."
    return f"{kept:,} of {read:,} exchanges passed every check. {said}"


def _table(table: Table) -> Iterator[str]:
    yield f"<section><h2>{escape(table.title)}</h2>"
    if table.notes:
        yield f"<p>{escape(table.notes)}</p>"
    yield "<table><tr>" + "".join(
        f"<th{_numeric(table, place)}>{escape(name)}" for place, name in enumerate(table.columns)
    )
    for row in table.rows:
        yield "<tr>" + "".join(_cell(value, name) for name, value in zip(table.columns, row, strict=True))
    yield "</table></section>"


def _numeric(table: Table, place: int) -> str:
    return " class=n" if table.rows and _is_number(table.rows[0][place]) else ""


def _cell(value: Json, column: str) -> str:
    if _is_number(value):
        if column == "share":
            return f"<td class='n share' style='--part: {value:.1%}'>{value:.1%}"
        return f"<td class=n>{value:,}"
    return f"<td>{escape('' if value is None else str(value))}"


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _rows(run: Path, split: str) -> Iterator[str]:
    from carg.shards import CONFIGS, read_rows

    for config in CONFIGS:
        if not any((run / "dataset" / config).glob(f"{split}-*.parquet")):
            continue
        for row in islice(read_rows(run / "dataset", config, split), N_ROWS):
            title = f"{config}/{split}: {row['kind']} of {row['domain']}/{row['service']}, {row['label']}, {row['id']}"
            yield f"<details><summary>{escape(title)}</summary>{''.join(_messages(row['messages']))}</details>"


def _messages(messages: Iterable[Mapping[str, Json]]) -> Iterator[str]:
    for item in messages:
        look = item["role"] if item["train"] or item["role"] != "assistant" else "context"
        yield f'<pre class="{look}">{escape(_cut(item["content"]))}</pre>'


def _reject(item: Reject) -> str:
    reasons = "".join(f"<li>{escape(f'{reason.check}: {reason.words}')}" for reason in item.reasons)
    texts = ((exchange.call.text, exchange.response.text) for exchange in item.exchanges)
    said = "".join(f"<pre class=user>{escape(_cut(one))}</pre><pre>{escape(_cut(two))}</pre>" for one, two in texts)
    checks = ", ".join(sorted({reason.check for reason in item.reasons}))
    return f"<details><summary>{escape(f'{item.id}: {checks}')}</summary><ul>{reasons}</ul>{said}</details>"


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARS else f"{text[:MOST_CHARS]} [{len(text) - MOST_CHARS} more characters]"

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
body { font: 15px/1.45 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; } th { text-align: left; }
td, th { padding: .15rem .8rem .15rem 0; border-bottom: 1px solid #ddd; vertical-align: top; }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: .2rem 0; padding: .5rem; background: #f5f5f3; }
pre.assistant { background: #e9f2e9; } pre.context { opacity: .6; } summary { cursor: pointer; }
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
    yield f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(run.name)}</title><style>{_STYLE}</style>"
    yield f"<h1>{escape(run.name)}</h1><p>Digest of the rows: <code>{escape(found.digest)}</code></p>"
    yield from _table(Table("About", ("setting", "value"), tuple(about.items()))) if about else ()
    for table in tables:
        yield from _table(table)
    yield "<h2>Rows</h2>"
    for split in SPLITS:
        yield from _rows(run, split)
    yield "<h2>Rejects</h2>"
    rejects = (item for stem in ("rejected", "corpus") for item in read_parts(Reject, run / "rejected", stem))
    yield from (_reject(item) for item in islice(rejects, N_REJECTS))


def _table(table: Table) -> Iterator[str]:
    yield f"<h2>{escape(table.title)}</h2>"
    if table.notes:
        yield f"<p>{escape(table.notes)}</p>"
    yield "<table><tr>" + "".join(f"<th>{escape(name)}" for name in table.columns)
    for row in table.rows:
        yield "<tr>" + "".join(_cell(value) for value in row)
    yield "</table>"


def _cell(value: Json) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"<td class=n>{value:,}"
    return f"<td>{escape('' if value is None else str(value))}"


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
        look = item["role"] if item["train"] or item["role"] != "assistant" else "assistant context"
        yield f'<pre class="{look}">{escape(_cut(item["content"]))}</pre>'


def _reject(item: Reject) -> str:
    reasons = "".join(f"<li>{escape(f'{reason.check}: {reason.words}')}" for reason in item.reasons)
    texts = ((exchange.call.text, exchange.response.text) for exchange in item.exchanges)
    said = "".join(
        f"<pre>{escape(_cut(one))}</pre><pre class=assistant>{escape(_cut(two))}</pre>" for one, two in texts
    )
    checks = ", ".join(sorted({reason.check for reason in item.reasons}))
    return f"<details><summary>{escape(f'{item.id}: {checks}')}</summary><ul>{reasons}</ul>{said}</details>"


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARS else f"{text[:MOST_CHARS]} [{len(text) - MOST_CHARS} more characters]"

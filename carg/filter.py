"""The filter: scenes in, checked rows in shards and rejects with all their reasons out.

The work is cut into numbered parts. `filter_part` judges and renders one part and can run anywhere: in this process,
in a pool, on another machine. `finish` reads what the parts left, applies the checks of the whole corpus and writes
the shards. A part that is there is not judged again, and nothing depends on who did which part or when.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path

import orjson

from carg.checks import Complaint, Referees, judge_scene, judge_tool, live_referees, read_scene
from carg.checks.corpus import Signature, benchmark_overlap, exact_duplicates, near_duplicates, over_cap, sign_row
from carg.errors import CargError
from carg.records import Exchange, Json, Row
from carg.scene import Scene
from carg.splits import Split, split_of
from carg.store import parts, read_parts, read_records, run_digest, write_atomic, write_part

SCENES_PER_PART = 500
N_SAMPLES = 3
"""So many ids are kept for each reason, to look at."""
NEAR_ROW = 0.9
"""Rows this much alike in calls and answers teach the same; below it, sessions of one service go apart."""

Render = Callable[[Scene], Row]


@dataclass(frozen=True, slots=True)
class Kept:
    """An accepted row, the split it goes to, and what its exchanges count for."""

    split: Split
    row: Row
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Reject:
    """A session, or exchanges of one, that were dropped: every reason; `exchanges` are the records themselves."""

    id: str
    instance: str
    kind: str
    reasons: tuple[Complaint, ...]
    exchanges: tuple[Exchange, ...] = ()


@dataclass(frozen=True, slots=True)
class FilterReport:
    """What went in and came out: counts by `heading/name`, sample ids for each reason, and the digest of the rows.

    Headings: `rows` and `exchanges` (read, kept, dropped), `reason` (records it dropped), `split`, `kind`, `label`,
    `fault`, `mix`, `truth` (exchanges kept), `shard` (rows kept by config and split).
    """

    counts: dict[str, int] = field(default_factory=dict)
    samples: dict[str, list[str]] = field(default_factory=dict)
    digest: str = ""


def filter_run(
    scenes: Iterable[Scene],
    out: Path,
    *,
    render: Render,
    on_progress: Callable[[FilterReport], None] = lambda _report: None,
    referees: Referees | None = None,
    imported: Split | None = None,
    fresh: bool = False,
) -> FilterReport:
    """The report of `finish` over all scenes, judged in this process, part by part. Errors as there.

    `on_progress` gets the report of each part. `imported` is the split of rows of real tools.
    """
    for number, part in enumerate(_cut(scenes)):
        on_progress(filter_part(part, out, number, render=render, referees=referees, imported=imported))
    return finish(out, fresh=fresh)


def _cut(scenes: Iterable[Scene]) -> Iterator[list[Scene]]:
    """At least one part, so that a run without scenes ends in an empty dataset and not in an error."""
    rest = iter(scenes)
    yield list(islice(rest, SCENES_PER_PART))
    while part := list(islice(rest, SCENES_PER_PART)):
        yield part


def filter_part(
    scenes: Iterable[Scene],
    out: Path,
    number: int,
    *,
    render: Render,
    referees: Referees | None = None,
    imported: Split | None = None,
) -> FilterReport:
    """The counts of one part; its rows, signatures and rejects lie in `out` then. A part that is there is only read."""
    work = out / "parts"
    done = work / f"counts-{number:05d}.jsonl"
    if done.exists():
        return next(read_records(FilterReport, done))
    judge = _Judge(render, referees or live_referees(), imported)
    for scene in scenes:
        judge.take(scene)
    write_part(work, "rows", number, judge.kept)
    write_part(work, "signatures", number, judge.signatures)
    write_part(out / "rejected", "rejected", number, judge.rejects)
    report = judge.tally.report()
    write_part(work, "counts", number, [report])
    return report


def finish(
    out: Path,
    *,
    fresh: bool = False,
    near: float = NEAR_ROW,
    cap: int | None = None,
    benchmarks: Sequence[Signature] = (),
    about: Mapping[str, Json] | None = None,
) -> FilterReport:
    """The report of the whole, when the shards are in `out/dataset` and filter.json beside them.

    Rows are dropped that are equal, more alike than `near`, beyond `cap` rows of their service, or much like a row of
    a benchmark; only the signatures are held in memory, about 1 kB each. `about` adds to the dataset card. Raises
    StoreError as `write_shards` does; the parts are still there then.
    """
    from carg.shards import config_of, write_card, write_shards

    work = out / "parts"
    drops = _drops(list(read_parts(Signature, work, "signatures")), near, cap, benchmarks)
    tally, ids, seen = Tally(), dict[str, list[str]](), set[str]()
    for part in read_parts(FilterReport, work, "counts"):
        tally.add(part)
    for left in parts(out / "rejected", "rejected")[len(parts(work, "counts")) :]:
        left.unlink()  # An earlier run into this folder had more parts.

    def rows() -> Iterator[tuple[str, Row]]:
        for item in read_parts(Kept, work, "rows"):
            again = Complaint("exact_duplicate", None, "the same id again") if item.row.id in seen else None
            why = drops.get(item.row.id) or again
            seen.add(item.row.id)
            tally.settle(item, why)
            if why is None:
                ids.setdefault(f"{config_of(item.row)}/{item.split}", []).append(item.row.id)
                yield item.split, item.row

    def describe(counts: dict[str, int]) -> str:
        return write_card(counts, {**(about or {}), **tally.tables()})

    shards = write_shards(rows(), out / "dataset", describe=describe, fresh=fresh)
    tally.counts.update({f"shard/{name}": n_rows for name, n_rows in shards.items()})
    write_part(out / "rejected", "corpus", 0, (Reject(id_, "", "row", (why,)) for id_, why in drops.items()))
    report = replace(tally.report(), digest=run_digest(ids))
    write_atomic(out / "filter.json", [orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS), b"\n"])
    shutil.rmtree(work)
    return report


def _drops(
    signatures: list[Signature], near: float, cap: int | None, benchmarks: Sequence[Signature]
) -> dict[str, Complaint]:
    """Ids of rows to drop; each check sees what the ones before it left."""
    drops: dict[str, Complaint] = {}
    once = {item.id: item for item in signatures}
    for name, judge in (
        ("exact_duplicate", exact_duplicates),
        ("near_duplicate", lambda left: near_duplicates(left, threshold=near)),
        ("benchmark_overlap", lambda left: benchmark_overlap(left, benchmarks, threshold=near)),
        ("over_cap", lambda left: {} if cap is None else over_cap(left, cap=cap)),
    ):
        left = [item for item in once.values() if item.id not in drops]
        drops |= {id_: Complaint(name, None, words) for id_, words in judge(left).items()}
    return drops


class Tally:
    """Counts and samples as they grow; two tallies add up to the same whichever comes first."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.samples: dict[str, list[str]] = {}

    def drop(self, id_: str, reasons: Iterable[Complaint], *, rows: int, exchanges: int) -> None:
        self.counts.update({"rows/dropped": rows, "exchanges/dropped": exchanges})
        for check in sorted({item.check for item in reasons}):
            self.counts[f"reason/{check}"] += 1
            self._sample(check, [id_])

    def settle(self, item: Kept, why: Complaint | None) -> None:
        """Count an accepted row, or drop it for what the corpus checks found."""
        n_exchanges = sum(n for name, n in item.counts.items() if name.startswith("label/"))
        if why is not None:
            self.drop(item.row.id, [why], rows=1, exchanges=n_exchanges)
            return
        self.counts.update({"rows/kept": 1, "exchanges/kept": n_exchanges, f"split/{item.split}": n_exchanges})
        self.counts.update(item.counts)

    def add(self, part: FilterReport) -> None:
        self.counts.update(part.counts)
        for check, ids in part.samples.items():
            self._sample(check, ids)

    def _sample(self, check: str, ids: list[str]) -> None:
        self.samples[check] = sorted({*self.samples.get(check, ()), *ids})[:N_SAMPLES]

    def report(self) -> FilterReport:
        return FilterReport(dict(sorted(self.counts.items())), dict(sorted(self.samples.items())))

    def tables(self) -> dict[str, dict[str, int]]:
        """The counts as one table a heading, for the dataset card."""
        titles = {"mix": "Exchanges by mix", "label": "Exchanges by label", "reason": "Records dropped, by reason"}
        return {
            title: {name.partition("/")[2]: n for name, n in sorted(self.counts.items()) if name.startswith(f"{head}/")}
            for head, title in titles.items()
        }


class _Judge:
    """The state of one part: what was kept and dropped so far, and the verdicts on definitions seen before."""

    def __init__(self, render: Render, referees: Referees, imported: Split | None) -> None:
        self.render, self.referees, self.imported = render, referees, imported
        self.kept: list[Kept] = []
        self.signatures: list[Signature] = []
        self.rejects: list[Reject] = []
        self.tally = Tally()
        self.offers: dict[tuple[bytes, bool], list[Complaint]] = {}

    def take(self, scene: Scene) -> None:
        n_exchanges = len(scene.session.exchanges)
        self.tally.counts.update({"rows/read": 1, "exchanges/read": n_exchanges})
        row, complaints = self._judge(scene)
        places = {item.at for item in complaints}
        if row is not None and not complaints:
            self._keep(scene, row)
        elif scene.session.kind == "single" and None not in places and len(places) < n_exchanges:
            self._reject(scene, complaints, [place for place in range(n_exchanges) if place in places])
            exchanges = [item for place, item in enumerate(scene.session.exchanges) if place not in places]
            rest = replace(scene, session=replace(scene.session, exchanges=tuple(exchanges)))
            self._keep(rest, self.render(rest))
        else:
            self._reject(scene, complaints, None)

    def _judge(self, scene: Scene) -> tuple[Row | None, list[Complaint]]:
        """The rendered row and all complaints; a scene that cannot be rendered or read is one complaint."""
        # Real tools are what they are: unbounded texts and missing descriptions are theirs, not ours to drop them for.
        recorded = scene.instance.category == "imported" or any(
            item.truth == "recorded" for item in scene.session.exchanges
        )
        complaints = []
        for definition in scene.definitions.values():
            key = orjson.dumps(definition), recorded
            if key not in self.offers:
                self.offers[key] = judge_tool(definition, recorded=recorded)
            complaints += self.offers[key]
        try:
            row = self.render(scene)
            return row, complaints + judge_scene(read_scene(scene, self.referees, row))
        except CargError as fault:
            return None, [*complaints, Complaint("unreadable", None, fault.message)]

    def _keep(self, scene: Scene, row: Row) -> None:
        session, instance = scene.session, scene.instance
        split = split_of(
            domain=instance.domain,
            service=instance.service,
            key=session.pair or session.id,
            held_out=instance.held_out,
            imported=self.imported,
        )
        counts = Counter(chain.from_iterable(count_exchange(item, session.kind) for item in session.exchanges))
        self.kept.append(Kept(split, row, dict(sorted(counts.items()))))
        self.signatures.append(sign_row(row, session.pair))

    def _reject(self, scene: Scene, complaints: list[Complaint], places: list[int] | None) -> None:
        """Drop the whole session, or only the exchanges at these places."""
        session = scene.session
        dropped = session.exchanges if places is None else tuple(session.exchanges[place] for place in places)
        self.rejects.append(Reject(session.id, session.instance, session.kind, tuple(complaints), dropped))
        self.tally.drop(session.id, complaints, rows=int(places is None), exchanges=len(dropped))


def count_exchange(exchange: Exchange, kind: str) -> list[str]:
    """The headings that an exchange counts under; `mix` is the share that DESIGN aims at."""
    call = exchange.call
    fault = call.violates[0].fault if call.violates else "none"
    if exchange.directive is not None or call.lookalike == "ok.empty_result":
        mix = "fault or empty"
    elif kind == "session":
        mix = "session"
    elif call.lookalike is not None:
        mix = "look-alike"
    elif call.label == "valid":
        mix = "valid single"
    else:
        mix = "invalid by schema" if fault.startswith("schema.") else "invalid otherwise"
    return [f"label/{call.label}", f"fault/{fault}", f"mix/{mix}", f"kind/{kind}", f"truth/{exchange.truth}"]

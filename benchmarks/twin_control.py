"""The check of the checker: a world that agrees on all that a model can read must be without a fault in `evaluate`.

    python benchmarks/twin_control.py [--run RUN] [--exchanges 12000] [--limit 3000] [--seeds 3]

Without --run, a run of all worlds is made in a temporary folder. Items of every split are answered by the world and by
its twins, which differ in whatever is hidden; each answer that is judged wrong is printed, and the script ends with 1.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from carg.evaluation.controls import answer_by_control
from carg.evaluation.intervals import estimate
from carg.evaluation.items import Item, read_items, splits_of
from carg.evaluation.verdicts import Verdict, judge
from carg.pipeline import expand, filter_sessions, generate

SHOWN = ("format", "schema", "recall", "false_alarms", "code", "field", "facts", "bodies", "probes", "obeys", "truth")


def make_run(folder: Path, n_exchanges: int) -> Path:
    """A whole run of every world."""
    expand(folder, n_instances=4)
    generate(folder, n_exchanges=n_exchanges)
    filter_sessions(folder)
    return folder


def is_wrong(verdict: Verdict) -> bool:
    """One measure or more is not what a right answer has; texts and keys may differ in what is invented."""
    scores = {name: got / of for name, (got, of) in verdict.scores.items() if name not in ("exact", "keys")}
    return any(share != (name != "false_alarms") for name, share in scores.items())


def show(item: Item, verdict: Verdict, said: str) -> None:
    """What was judged wrong, for whoever mends it."""
    view = item.scene.session.view.get("mode")
    print(f"  {item.scene.instance.domain}, session {item.scene.session.id} at {item.number}, {view}: {verdict.scores}")
    print(f"    call {item.exchange.call.text[:300]!r}")
    print(f"    true {item.exchange.response.text[:300]!r}")
    print(f"    said {said[:300]!r}")


def measure(run: Path, items: list[Item], backend: str) -> int:
    """How many answers of a control were judged wrong; each is printed."""
    began = time.process_time()
    answers = answer_by_control(backend, items, run / "dataset")
    verdicts = [judge(item, answers[item.id].text) for item in items]
    found = estimate([verdict.scores for verdict in verdicts], [item.scene.instance.id for item in items])
    wrong = [at for at, verdict in enumerate(verdicts) if is_wrong(verdict)]
    told = ", ".join(f"{name} {found[name].value:.2%} of {found[name].n:,}" for name in SHOWN if name in found)
    seconds = time.process_time() - began
    print(
        f"{backend}: {len(items):,} exchanges, {len(wrong)} judged wrong, same text {found['exact'].value:.1%}; {told}"
    )
    print(f"  {len(items) / seconds:,.0f} exchanges answered and judged a CPU second")
    for at in wrong:
        show(items[at], verdicts[at], answers[items[at].id].text)
    return len(wrong)


def main() -> None:
    """Measure, and fail where anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--exchanges", type=int, default=12_000)
    parser.add_argument("--limit", type=int, default=3_000)
    parser.add_argument("--seeds", type=int, default=3)
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = told.run or make_run(Path(folder) / "run", told.exchanges)
        items = read_items(run, run / "dataset", splits_of(run / "dataset"), told.limit)
        worlds = {item.scene.instance.domain for item in items}
        print(f"{len(items):,} exchanges of {len(worlds)} worlds in {', '.join(splits_of(run / 'dataset'))}")
        backends = ["world", *(f"twin:{seed}" for seed in range(1, told.seeds + 1))]
        n_wrong = sum(measure(run, items, backend) for backend in backends)
    sys.exit(1 if n_wrong else 0)


if __name__ == "__main__":
    main()

"""Leaks: can a classifier tell an invalid call by its text alone, without definition and state?

It must not, else a model trained on the data learns to do without them. For each class of faults a linear n-gram
classifier sees invalid calls and, of the same tools, as many valid ones (carrying the same kind of parameter, where
the fault is in a value). It is trained on some instances and measured on others. Needs scikit-learn.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from random import Random
from typing import Any, NamedTuple

from carg.errors import ConfigError
from carg.records import Definition, Exchange, Json
from carg.scene import Scene
from carg.stats import Table, share
from carg.world.shadow import subject_of

BOUNDS = {
    "schema.missing": 0.65,
    "schema.unknown": 0.65,
    "schema.type": 0.65,
    "schema.enum": 0.65,
    "schema.range": 0.65,
    "schema.format": 0.65,
    "rule.cross_field": 0.70,
    "state.forbidden": 0.60,
    "state.not_found": 0.60,
    "state.order": 0.60,
    "state.conflict": 0.60,
    "rule.limit": 0.60,
}
"""The highest AUC that passes. A conflict of fields does stand in the call; the other classes need what it lacks."""

LEAST_POSITIVES = 500
"""Below, the AUC of chance alone strays by more than 0.03."""
MOST_POSITIVES = 4_000
N_SPLITS = 3
TRAIN_SHARE = 0.6
N_FEATURES = 2**18
SEQUENCE_LENGTH = 5
SEQUENCE_BOUND = 0.04
LEAST_SESSIONS = 200

_VALUE_FAULTS = frozenset({"schema.type", "schema.enum", "schema.range", "schema.format"})


class Sample(NamedTuple):
    """One call: its text, where it comes from, its first fault ("" when valid) and the kinds of its parameters."""

    text: str
    tool: str
    instance: str
    fault: str
    kinds: frozenset[str]
    """Of the parameter at fault; of all that it carries where the call is valid."""


def sample_calls(scenes: Iterable[Scene]) -> Iterator[Sample]:
    """A sample for each call that counts: of a shown tool, readable, trained on, with no directive over it."""
    for scene in scenes:
        for exchange in scene.session.exchanges:
            definition = scene.definitions.get(exchange.call.tool or "")
            if definition and exchange.train and exchange.directive is None:
                yield _sample(scene, exchange, definition)


def _sample(scene: Scene, exchange: Exchange, definition: Definition) -> Sample:
    call = exchange.call
    fault = call.violates[0].fault if call.violates else ""
    if fault in _VALUE_FAULTS:
        kinds = {_kind_at(definition.parameters, call.violates[0].field or "")}
    else:
        kinds = set() if fault else set(_kinds(definition.parameters, call.arguments or {}))
    return Sample(call.text, definition.key, scene.instance.id, fault, frozenset(kinds))


def _kinds(schema: dict[str, Json], arguments: dict[str, Json]) -> Iterator[str]:
    properties = schema.get("properties", {})
    for name, value in arguments.items():
        inner = properties.get(name, {})
        if isinstance(value, dict) and "properties" in inner:
            yield from _kinds(inner, value)
        else:
            yield _kind(inner)


def _kind_at(schema: dict[str, Json], path: str) -> str:
    for step in path.split("."):
        step = step.partition("[")[0]
        schema = schema.get("properties", {}).get(step, {})
    return _kind(schema)


def _kind(schema: dict[str, Json]) -> str:
    """enum, a format, `bounded integer`, or the bare type: what decides which faults a value can have."""
    if "enum" in schema:
        return "enum"
    if "format" in schema or "pattern" in schema:
        return str(schema.get("format", "pattern"))
    bounded = "bounded " if schema.keys() & {"minimum", "maximum", "maxLength", "maxItems"} else ""
    return bounded + str(schema.get("type", "any"))


def leaks(samples: Sequence[Sample], *, seed: int = 0, least: int = LEAST_POSITIVES) -> Table:
    """For each class: positives, AUC (mean of three splits by instance), its bound, and ok, leaks or not measured."""
    rows = []
    for fault, bound in BOUNDS.items():
        chosen = match_samples(samples, fault, Random(f"{seed}/{fault}"))
        n_positive = sum(1 for item in chosen if item.fault)
        auc = _measure(chosen, Random(f"{seed}/split/{fault}")) if n_positive >= least else None
        verdict = "not measured" if auc is None else "ok" if auc <= bound else "leaks"
        rows.append((fault, n_positive, None if auc is None else round(auc, 3), bound, verdict))
    notes = (
        "Logistic regression on hashed character 1-5-grams of the call alone; as many valid calls of the same tools"
        f" as invalid ones; {TRAIN_SHARE:.0%} of the instances to train, the others to measure, mean of {N_SPLITS}."
    )
    return Table("Leaks", ("class", "positives", "auc", "bound", "verdict"), tuple(rows), notes)


def match_samples(samples: Sequence[Sample], fault: str, rng: Random) -> list[Sample]:
    """Invalid calls of the class and as many valid ones, within each tool (and kind of parameter); at most 4,000 each.

    So the name of the tool, which alone says how often calls of it fail, tells nothing.
    """
    groups: dict[tuple[str, str], tuple[list[Sample], list[Sample]]] = defaultdict(lambda: ([], []))
    for item in samples:
        if item.fault == fault:
            groups[item.tool, min(item.kinds, default="")][0].append(item)
    for item in samples:
        if not item.fault:
            for kind in sorted(item.kinds) if fault in _VALUE_FAULTS else [""]:
                if (item.tool, kind) in groups:
                    groups[item.tool, kind][1].append(item)
    chosen: list[tuple[Sample, Sample]] = []
    for _, (positives, negatives) in sorted(groups.items()):
        n_pairs = min(len(positives), len(negatives))
        chosen += zip(rng.sample(positives, n_pairs), rng.sample(negatives, n_pairs), strict=True)
    if len(chosen) > MOST_POSITIVES:
        chosen = rng.sample(chosen, MOST_POSITIVES)
    return [item for pair in chosen for item in pair]


def _measure(samples: list[Sample], rng: Random) -> float | None:
    """The mean AUC over splits by instance; None where no split leaves both classes on both sides."""
    try:
        from sklearn.feature_extraction.text import HashingVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.metrics import roc_auc_score
    except ImportError as fault:
        raise ConfigError("`stats leaks` needs scikit-learn", "pip install scikit-learn") from fault
    hashing = HashingVectorizer(analyzer="char", ngram_range=(1, 5), n_features=N_FEATURES, alternate_sign=False)
    features: Any = hashing.transform([item.text for item in samples])
    labels = [bool(item.fault) for item in samples]
    instances = sorted({item.instance for item in samples})
    found = []
    for _ in range(N_SPLITS):
        seen = set(rng.sample(instances, round(TRAIN_SHARE * len(instances))))
        train = [place for place, item in enumerate(samples) if item.instance in seen]
        test = [place for place, item in enumerate(samples) if item.instance not in seen]
        if len({labels[place] for place in train}) == len({labels[place] for place in test}) == 2:
            model = LogisticRegression(C=10, solver="liblinear", dual=True, tol=1e-2, max_iter=2_000, random_state=0)
            model.fit(features[train], [labels[place] for place in train])
            scores = model.decision_function(features[test])
            found.append(float(roc_auc_score([labels[place] for place in test], scores)))
    return sum(found) / len(found) if found else None


def sequences(scenes: Iterable[Scene], *, top: int = 5, least: int = LEAST_SESSIONS) -> Table:
    """The most common runs of five (effect, same entity or not, outcome), by the share of sessions that have them.

    Left out: sessions without an opening state or in which no tool but calculators and tables is shown (their only
    sequence is compute, compute, ...), and those under five steps.
    """
    counts: dict[tuple[str, ...], int] = defaultdict(int)
    n_sessions = 0
    for scene in scenes:
        if scene.session.kind != "session" or scene.opening is None or not _has_state(scene):
            continue
        steps = list(_steps(scene))
        runs = {tuple(steps[at : at + SEQUENCE_LENGTH]) for at in range(len(steps) - SEQUENCE_LENGTH + 1)}
        n_sessions += bool(runs)
        for run in runs:
            counts[run] += 1
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:top]
    rows = tuple((", ".join(run), n, share(n, n_sessions), _verdict(n, n_sessions, least)) for run, n in ranked)
    notes = f"{n_sessions} sessions of five steps or more; the bound is {SEQUENCE_BOUND:.0%}."
    return Table("Sequences", ("steps", "sessions", "share", "verdict"), rows, notes)


def _has_state(scene: Scene) -> bool:
    return any(definition.resource is not None for definition in scene.definitions.values())


def _steps(scene: Scene) -> Iterator[str]:
    last = None
    for exchange in scene.session.exchanges:
        definition = scene.definitions.get(exchange.call.tool or "")
        subject = subject_of(definition, exchange.call.arguments or {}) if definition else None
        same = "same" if subject is not None and subject == last else "other"
        yield f"{definition.effect if definition else 'unknown'} {same} {'ok' if exchange.response.ok else 'refused'}"
        last = subject


def _verdict(n_having: int, n_sessions: int, least: int) -> str:
    if n_sessions < least:
        return "not measured"
    return "ok" if n_having <= SEQUENCE_BOUND * n_sessions else "leaks"

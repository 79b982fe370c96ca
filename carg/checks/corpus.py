"""Checks of a whole corpus: duplicates, balance, overlap with benchmarks.

They read signatures, not records, and map the ids to drop to the reason, in sorted order; what is kept of two
equals is the one with the smaller id, so that the order of reading never matters.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from carg.records import Row, Tool, digest

N_PERMUTATIONS = 64
N_BANDS = 16
"""Bands of 4: of pairs with a Jaccard of 0.8 one in 4,800 is missed, of those with 0.5 a third are looked at."""
BUCKET = 32
"""At most so many kept records are compared for one band: a flood of look-alikes must not cost quadratic time."""
_FACTORS = np.array([int(digest("minhash", n), 16) for n in range(2 * N_PERMUTATIONS)], dtype=np.uint64)
_MULTIPLY, _ADD = _FACTORS[:N_PERMUTATIONS] | np.uint64(1), _FACTORS[N_PERMUTATIONS:]
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Signature:
    """What the corpus checks know of a record.

    `exact` is equal for equal records; `sketch` is a MinHash in hex; `group` is what a cap counts; records of one
    `kin` (variants of a tool, the two halves of a pair) are alike on purpose and never duplicates of each other.
    """

    id: str
    exact: str
    sketch: str
    group: str
    kin: str = ""


def sketch(text: str) -> str:
    """The MinHash of the text's word 3-shingles, 64 values of 32 bits in hex.

    Multiply-shift hashing of crc32 values; the share of equal values estimates the Jaccard similarity, with a
    standard error of 0.05 at 0.8.
    """
    words = _WORD.findall(text.lower())
    trios = [" ".join(trio) for trio in zip(words, words[1:], words[2:], strict=False)] or [" ".join(words)]
    shingles = {crc32(trio.encode()) for trio in trios}
    values = np.fromiter(shingles, dtype=np.uint64, count=len(shingles))
    least = (values[:, None] * _MULTIPLY + _ADD).min(axis=0) >> np.uint64(32)
    return str(least.astype("<u4").tobytes().hex())


def sign_tool(tool: Tool) -> Signature:
    """The signature of a tool by name, description and parameters; variants of one tool are kin."""
    properties = tool.parameters.get("properties", {})
    said = " ".join(f"{name} {schema.get('description', '')}" for name, schema in properties.items())
    text = f"{tool.name.replace('_', ' ')} {tool.description} {said}"
    exact = digest(tool.name, tool.description, tool.parameters)
    return Signature(tool.id, exact, sketch(text), tool.domain, tool.variant_of or tool.id)


def sign_row(row: Row, kin: str | None = None) -> Signature:
    """The signature of a row: equal where all messages are, alike where calls and answers are; grouped by service."""
    text = "\n".join(message.content for message in row.messages[1:])
    exact = digest(*(message.content for message in row.messages))
    return Signature(row.id, exact, sketch(text), f"{row.domain}/{row.service}", kin or "")


def exact_duplicates(signatures: Iterable[Signature]) -> dict[str, str]:
    """Ids whose content an earlier id has already."""
    first: dict[str, str] = {}
    return {
        item.id: f"the same as {kept}"
        for item in _in_order(signatures)
        if (kept := first.setdefault(item.exact, item.id)) != item.id
    }


def near_duplicates(signatures: Iterable[Signature], *, threshold: float = 0.8) -> dict[str, str]:
    """Ids whose similarity to a kept one is above the threshold, kin apart."""
    buckets, drops = Buckets(threshold), dict[str, str]()
    for item in _in_order(signatures):
        if kept := buckets.find(item):
            drops[item.id] = f"much like {kept}"
        else:
            buckets.put(item)
    return drops


def benchmark_overlap(
    signatures: Iterable[Signature], benchmarks: Iterable[Signature], *, threshold: float = 0.8
) -> dict[str, str]:
    """Ids that are equal to, or much like, a record of a benchmark."""
    buckets = Buckets(threshold)
    known = {}
    for item in _in_order(benchmarks):
        known[item.exact] = item.id
        buckets.put(item)
    overlaps = ((item.id, known.get(item.exact) or buckets.find(item)) for item in _in_order(signatures))
    return {id_: f"in a benchmark: {found}" for id_, found in overlaps if found}


def over_cap(signatures: Iterable[Signature], *, cap: int) -> dict[str, str]:
    """Ids beyond the first `cap` of their group, in an order that the ids' digests give: a fair draw."""
    groups: dict[str, list[str]] = defaultdict(list)
    for item in signatures:
        groups[item.group].append(item.id)
    drops = {}
    for group, ids in groups.items():
        for id_ in sorted(ids, key=lambda id_: digest("cap", id_))[cap:]:
            drops[id_] = f"{group} has {len(ids)}, the cap is {cap}"
    return dict(sorted(drops.items()))


def _in_order(signatures: Iterable[Signature]) -> list[Signature]:
    return sorted(signatures, key=lambda item: item.id)


class Buckets:
    """Kept signatures by the bands of their sketches; `threshold` is the similarity above which two are alike."""

    def __init__(self, threshold: float) -> None:
        self.enough = threshold * N_PERMUTATIONS
        self.bands: dict[tuple[int, bytes], list[int]] = defaultdict(list)
        self.kept: list[tuple[str, str, bytes]] = []

    def find(self, item: Signature) -> str | None:
        """The id of the first kept record that is much like this one."""
        raw = bytes.fromhex(item.sketch)
        near = {place for band in _bands(raw) for place in self.bands.get(band, ())}
        for place in sorted(near):
            id_, kin, other = self.kept[place]
            if (not kin or kin != item.kin) and _n_equal(raw, other) > self.enough:
                return id_
        return None

    def put(self, item: Signature) -> None:
        raw = bytes.fromhex(item.sketch)
        for band in _bands(raw):
            bucket = self.bands[band]
            if len(bucket) < BUCKET:
                bucket.append(len(self.kept))
        self.kept.append((item.id, item.kin, raw))


def _n_equal(one: bytes, other: bytes) -> int:
    return int(np.count_nonzero(np.frombuffer(one, "<u4") == np.frombuffer(other, "<u4")))


def _bands(raw: bytes) -> list[tuple[int, bytes]]:
    width = len(raw) // N_BANDS
    return [(band, raw[band * width : (band + 1) * width]) for band in range(N_BANDS)]

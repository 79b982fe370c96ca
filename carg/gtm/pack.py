"""Which tokens are trained on when: conversations laid side by side in rows of one width, best fit first.

A plan is a pure function of lengths, width, seed and epoch, so that a checkpoint needs one integer to find its
place again. Documents never see each other: `model` keeps attention and positions apart.
"""

from __future__ import annotations

import bisect
import itertools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from carg.errors import TrainError
from carg.gtm.cache import SUPERVISED, Cache

POOL = 50_000
"""Conversations packed together: enough to fill rows to 99.9 %, few enough to keep the order random."""


@dataclass(frozen=True, slots=True)
class Documents:
    """The pieces of a cache that are trained on: one a conversation, none longer than the context."""

    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    n_cut: int
    """Conversations longer than the context, cut after the last answer that fits."""
    n_dropped: int
    """Conversations without a supervised token (that fits)."""


class Plan(NamedTuple):
    """Rows of an epoch: row r holds the documents `order[bounds[r] : bounds[r + 1]]`."""

    order: NDArray[np.int64]
    bounds: NDArray[np.int64]

    @property
    def n_rows(self) -> int:
        return len(self.bounds) - 1


class Packed(NamedTuple):
    """One row ready to train on; all arrays are as long as its documents together, or the width if padded."""

    ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    """From 0 in each document."""
    lengths: list[int]
    """Of the documents, in order; padding counts as one document."""
    select: NDArray[np.int64]
    """Positions that are scored on their next token, rising: those where it is supervised, or all of them."""
    targets: NDArray[np.int64]
    """Those next tokens."""
    weights: NDArray[np.float32]
    """Of the targets in the loss: 1 where supervised, else the weight of context."""
    n_tokens: int
    """Tokens without padding."""


def find_documents(cache: Cache, context: int, *, turn_end: int) -> Documents:
    """The documents of a cache for a context of so many tokens; `turn_end` is the id of the end mark.

    Raises TrainError when no conversation has an answer that fits.
    """
    offsets = cache.offsets.astype(np.int64)
    starts, lengths = offsets[:-1], np.diff(offsets)
    pieces = (cache.tokens[start:end] for start, end in itertools.pairwise(offsets))
    kept = np.fromiter((_fit(piece, context, turn_end) for piece in pieces), dtype=np.int64, count=len(starts))
    sound = kept > 0
    if not sound.any():
        raise TrainError(f"no conversation has an answer within {context} tokens", "raise `context`")
    n_cut = int(np.count_nonzero(sound & (lengths > context)))
    return Documents(starts[sound], kept[sound], n_cut, int(np.count_nonzero(~sound)))


def _fit(tokens: NDArray[np.uint32], context: int, turn_end: int) -> int:
    """Length of the longest prefix that ends with a supervised answer and fits; 0 when there is none.

    What follows the last supervised token teaches nothing, so it is left out of short conversations too.
    """
    supervised = np.flatnonzero(tokens & SUPERVISED)
    ends = supervised[(tokens[supervised] & ~SUPERVISED) == turn_end]
    fitting = ends[ends < context]
    return int(fitting[-1]) + 1 if len(fitting) else 0


def plan_rows(lengths: NDArray[np.int64], width: int, *, seed: int, epoch: int) -> Plan:
    """Rows of at most `width` tokens that hold every document once, in an order drawn from seed and epoch.

    Source: best-fit decreasing, as TRL's `bfd` packing.
    """
    rng = np.random.default_rng([seed, epoch])
    shuffled = rng.permutation(len(lengths))
    rows: list[list[int]] = []
    for first in range(0, len(shuffled), POOL):
        rows.extend(_pack_pool(shuffled[first : first + POOL], lengths, width))
    rows = [rows[number] for number in rng.permutation(len(rows))]
    bounds = np.cumsum([0, *(len(row) for row in rows)], dtype=np.int64)
    order = np.array([document for row in rows for document in row], dtype=np.int64)
    return Plan(order, bounds)


def _pack_pool(pool: NDArray[np.int64], lengths: NDArray[np.int64], width: int) -> list[list[int]]:
    longest_first = pool[np.argsort(-lengths[pool], kind="stable")].tolist()
    rows: list[list[int]] = []
    by_room: dict[int, list[int]] = {}
    rooms: list[int] = []  # the keys of `by_room`, sorted
    for document in longest_first:
        length = int(lengths[document])
        place = bisect.bisect_left(rooms, length)
        if place == len(rooms):
            row, room = len(rows), width
            rows.append([])
        else:
            room = rooms[place]
            row = by_room[room].pop()
            if not by_room[room]:
                del by_room[room], rooms[place]
        rows[row].append(document)
        if room > length:
            if room - length not in by_room:
                bisect.insort(rooms, room - length)
            by_room.setdefault(room - length, []).append(row)
    return rows


def fill_row(
    cache: Cache, documents: Documents, plan: Plan, row: int, *, pad_to: int = 0, context_weight: float = 0.0
) -> Packed:
    """The tokens of a row of the plan, padded to `pad_to` by a document of zeros that nothing supervises.

    The first token of a document is never a target: nothing before it belongs to it.
    """
    members = plan.order[plan.bounds[row] : plan.bounds[row + 1]]
    spans = [(int(documents.starts[number]), int(documents.lengths[number])) for number in members]
    lengths = [length for _, length in spans]
    n_tokens = sum(lengths)
    pieces = [cache.tokens[start : start + length] for start, length in spans]
    weights = [np.where(piece & SUPERVISED, 1.0, context_weight) for piece in pieces]
    for weight in weights:
        weight[0] = 0.0
    if (padding := pad_to - n_tokens) > 0:
        lengths.append(padding)
        pieces.append(np.zeros(padding, dtype=np.uint32))
        weights.append(np.zeros(padding))
    ids = (np.concatenate(pieces) & ~SUPERVISED).astype(np.int64)
    weight = np.concatenate(weights).astype(np.float32)
    scored = np.flatnonzero(weight)
    firsts = np.cumsum([0, *lengths[:-1]])
    positions = np.arange(len(ids)) - np.repeat(firsts, lengths)
    return Packed(ids, positions, lengths, scored - 1, ids[scored], weight[scored], n_tokens)


def blank_row(width: int) -> Packed:
    """A row of padding that nothing supervises: it scores 0 and moves no weight."""
    nothing = np.array([], dtype=np.int64)
    return Packed(
        np.zeros(width, dtype=np.int64), np.arange(width), [width], nothing, nothing, np.array([], dtype=np.float32), 0
    )

"""The loss of a run as a picture: an SVG drawn from `train.jsonl`, without a plotting package.

Pale is the loss of each step, blue its average that forgets a tenth at each; held-out splits are dots on a line.
"""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path

import orjson

WIDTH, HEIGHT, EDGE = 640, 320, 44
_COLOURS = ("#d62728", "#2ca02c", "#9467bd")


def draw_losses(out: Path) -> Path:
    """Write `out/loss.svg`: loss by step in nats, from 0 up."""
    lines = [orjson.loads(line) for line in (out / "train.jsonl").read_bytes().splitlines()]
    curve = [(line["step"], line["loss"]) for line in lines if "loss" in line]
    marks = [(line["eval"]["split"], line["step"], line["eval"]["loss"]) for line in lines if "eval" in line]
    last = max([step for step, _ in curve] + [1])
    top = max([loss for _, loss in curve] + [loss for _, _, loss in marks] + [1e-9])

    def place(step: float, loss: float) -> str:
        across = EDGE + (WIDTH - 2 * EDGE) * step / last
        return f"{across:.1f},{HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * loss / top:.1f}"

    smooth = list(accumulate((loss for _, loss in curve), lambda mean, loss: 0.9 * mean + 0.1 * loss))
    splits = list(dict.fromkeys(split for split, _, _ in marks))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<polyline fill="none" stroke="black" points="{place(0, top)} {place(0, 0)} {place(last, 0)}"/>',
        *(
            f'<text x="4" y="{place(0, top * part).split(",")[1]}">{top * part:.2f}</text>'
            f'<polyline stroke="#dddddd" points="{place(0, top * part)} {place(last, top * part)}"/>'
            for part in (0.25, 0.5, 0.75, 1.0)
        ),
        f'<text x="{WIDTH - EDGE}" y="{HEIGHT - EDGE + 16}" text-anchor="end">step {last}</text>',
        f'<text x="{EDGE}" y="20">loss, nats per supervised token: <tspan fill="#1f77b4">train</tspan>',
        *(f'<tspan fill="{colour}"> {split}</tspan>' for split, colour in zip(splits, _COLOURS, strict=False)),
        "</text>",
        f'<polyline fill="none" stroke="#b9d4e8" points="{" ".join(place(*point) for point in curve)}"/>',
        f'<polyline fill="none" stroke="#1f77b4" stroke-width="2" points="'
        f'{" ".join(place(step, loss) for (step, _), loss in zip(curve, smooth, strict=True))}"/>',
    ]
    for split, colour in zip(splits, _COLOURS, strict=False):
        dots = [place(step, loss).split(",") for name, step, loss in marks if name == split]
        parts.append(f'<polyline fill="none" stroke="{colour}" points="{" ".join(",".join(dot) for dot in dots)}"/>')
        parts += [f'<circle cx="{across}" cy="{up}" r="3" fill="{colour}"/>' for across, up in dots]
    picture = out / "loss.svg"
    picture.write_text("\n".join([*parts, "</svg>"]) + "\n", encoding="utf-8")
    return picture

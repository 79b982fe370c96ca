"""Large files in pieces that a narrow way back can carry, and the joiner: standard library alone.

python benchmarks/gpu/pieces.py weights.json --into model/      # the pieces lie beside weights.json
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path


def split(source: Path, into: Path, *, most_bytes: int) -> Path:
    """Write `<stem>-000.bin`, ... and `<stem>.json`, which says how they join; the path of the latter."""
    stem, pieces = source.name.partition(".")[0], []
    whole = hashlib.sha256()
    with source.open("rb") as file:
        while part := file.read(most_bytes):
            name = f"{stem}-{len(pieces):03d}.bin"
            (into / name).write_bytes(part)
            whole.update(part)
            pieces.append({"name": name, "bytes": len(part), "sha256": hashlib.sha256(part).hexdigest()})
    manifest = into / f"{stem}.json"
    manifest.write_text(json.dumps({"name": source.name, "sha256": whole.hexdigest(), "pieces": pieces}, indent=1))
    return manifest


def join(manifest: Path, into: Path) -> Path:
    """Put the pieces beside a manifest together. Raises ValueError naming each piece that is missing or damaged."""
    told = json.loads(manifest.read_text())
    faults = [
        piece["name"]
        for piece in told["pieces"]
        if not (manifest.parent / piece["name"]).exists()
        or hashlib.sha256((manifest.parent / piece["name"]).read_bytes()).hexdigest() != piece["sha256"]
    ]
    if faults:
        raise ValueError(f"missing or damaged: {', '.join(faults)}")
    into.mkdir(parents=True, exist_ok=True)
    target = into / told["name"]
    whole = hashlib.sha256()
    with target.open("wb") as file:
        for piece in told["pieces"]:
            part = (manifest.parent / piece["name"]).read_bytes()
            whole.update(part)
            file.write(part)
    if whole.hexdigest() != told["sha256"]:
        raise ValueError(f"{target}: the whole is not what was split")
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--into", type=Path, default=Path())
    options = parser.parse_args()
    try:
        print(join(options.manifest, options.into))
    except ValueError as fault:
        sys.exit(str(fault))


if __name__ == "__main__":
    main()

"""Wheels for a machine without a network: what carg needs beside Python 3.12 and torch 2.11, but nothing that is there.

    python benchmarks/gpu/pack.py                          # 41 MB under benchmarks/gpu/wheels, which git ignores
    python benchmarks/gpu/pack.py --there --most-mb 120    # with numpy and pyarrow, which most images have: 111 MB
    python benchmarks/gpu/pack.py --there there.txt        # leave out what that `pip freeze` says is there

litellm and aiohttp ask servers: the programme asks none, and carg imports them when it must.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

NEEDED = (
    "transformers>=5.0,<6",
    "tokenizers",
    "safetensors",
    "huggingface_hub",
    "llguidance>=1.0",
    "regex",
    "orjson>=3.9",
    "click>=8.1",
    "jsonschema[format]>=4.20",
    "jsonschema-rs>=0.40",
    "tenacity>=8.2",
    "rich>=13",
    "pyyaml>=6",
    "pyarrow>=15",
    "numpy>=1.26",
)
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--into", type=Path, default=Path(__file__).parent / "wheels")
    parser.add_argument(
        "--there", nargs="*", default=["numpy", "pyarrow"], help="never packed: names, or files with a name a line"
    )
    parser.add_argument("--most-mb", type=float, default=60.0, help="say no to more than this")
    options = parser.parse_args()
    fetch(options.into)
    words = [Path(word).read_text().splitlines() if Path(word).is_file() else [word] for word in options.there]
    there = {name_of(line) for lines in words for line in lines}
    for wheel in options.into.glob("*.whl"):
        if name_of(wheel.name) in there:
            wheel.unlink()
    sizes = {wheel.name: wheel.stat().st_size / 1e6 for wheel in sorted(options.into.glob("*.whl"))}
    for name, size in sorted(sizes.items(), key=lambda entry: -entry[1]):
        print(f"{size:8.2f} MB  {name}")
    total = sum(sizes.values())
    print(f"{total:8.2f} MB  in {len(sizes)} wheels under {options.into}")
    if total > options.most_mb:
        sys.exit(f"more than {options.most_mb:g} MB: name with --there what the machine has (pyarrow is the largest)")


def name_of(text: str) -> str:
    """The name of a distribution, as it begins a requirement or the name of a wheel, in its normal form."""
    found = re.match(r"[A-Za-z0-9._-]*?(?=-\d|[=<>@ \[]|$)", text.strip())
    return re.sub(r"[-_.]+", "-", found[0] if found else "").lower()


def fetch(folder: Path) -> None:
    """Download the wheels for Python 3.12 on x86-64 Linux, whatever this machine is."""
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    target = ["--python-version", "3.12", "--implementation", "cp", "--only-binary", ":all:"]
    command = [sys.executable, "-m", "pip", "download", "-q", *target, *platforms, "-d", str(folder), *NEEDED]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()

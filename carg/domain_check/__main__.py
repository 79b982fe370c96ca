"""`python -m carg.domain_check FILE...`: checks domain files and prints what it finds; exit 1 where one has faults."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from carg.domain_check.check import check_domains
from carg.domain_check.findings import say_report


def main() -> int:
    """The exit code, after printing the reports in the order of the files."""
    parser = argparse.ArgumentParser(prog="carg domains check")
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--services", type=int, default=40)
    parser.add_argument("--executions", type=int, default=1000)
    parser.add_argument("--width", type=int, default=1, help="worker processes, one file each")
    options = parser.parse_args()
    sound = True
    for report in check_domains(
        options.files, services=options.services, executions=options.executions, width=options.width
    ):
        print(say_report(report), flush=True)
        sound = sound and report.is_sound
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())

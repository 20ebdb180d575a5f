"""``python -m benchmarks [names…] [--quick | --full] [--json FILE]``: measure; print tables and JSON lines."""

import argparse
import importlib
import signal
import sys
import time
from pathlib import Path

from benchmarks import report
from benchmarks.stage import Stage

NAMES = ("drain", "latency", "emit", "model_changes", "fan_out", "noisy", "backlog", "pace", "admin", "api", "peers")


def main() -> int:
    """Return 1 if a bar was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure, and hold against the bars.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"which of {', '.join(NAMES)}; default all")
    scale = parser.add_mutually_exclusive_group()
    scale.add_argument("--quick", action="store_const", const="quick", dest="scale", help="all in a minute, rough")
    scale.add_argument("--full", action="store_const", const="full", dest="scale", help="with the largest sizes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="append the JSON lines to this file too")
    options = parser.parse_args()
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that all that was started is ended
    stage = Stage()
    try:
        results = [_run(stage, name, options) for name in options.names or NAMES]
    finally:
        report.progress("ending …")
        stage.close()
        report.progress()
    missed = [f"{result.name}: {check.what}" for result in results for check in result.checks if check.ok is False]
    unmeasured = sum(check.ok is None and not check.is_reported for result in results for check in result.checks)
    print("\nMissed:\n  " + "\n  ".join(missed) if missed else "\nNo bar was missed.")
    if unmeasured:
        print(f"{unmeasured} bars could not be measured.")
    return bool(missed)


def _run(stage: Stage, name: str, options: argparse.Namespace) -> report.Result:
    began = time.monotonic()
    report.progress(f"{name} …")
    stage.reset()
    result = importlib.import_module(f"benchmarks.{name}").run(stage, options.scale or "normal")
    result.seconds = time.monotonic() - began
    line = result.json(stage.machine)
    report.progress()
    print(result.text(), line, sep="\n\n", flush=True)
    if options.json:
        with options.json.open("a") as file:
            file.write(line + "\n")
    return result


if __name__ == "__main__":
    sys.exit(main())

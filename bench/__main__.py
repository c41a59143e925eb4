"""`python -m bench`: measure, and write results.json, results.md and the plots."""

import argparse
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.backups import measure_backups
from bench.commands import measure_commands
from bench.crawls import measure_crawls
from bench.documentation import measure_documentation
from bench.environments import CORES_NEEDED, missing_tools, peers_python
from bench.errors import NotMeasured, reason_of
from bench.feed import measure_feed
from bench.gateways import measure_gateways
from bench.in_process import REPEAT_SECONDS, REPEATS, measure_in_process
from bench.machine import describe_machine, differing_ground
from bench.metrics import measure_metrics
from bench.people import measure_people
from bench.processors import pin_this_process
from bench.report import as_markdown
from bench.revocation import measure_revocation
from bench.servers import ROOT, run_command
from bench.sizes import measure_sizes
from bench.targets import BASELINE, TARGETS, Target
from bench.throughput import Plan, measure_throughput

RESULTS = ROOT / "bench" / "results"
SHORT_RESULTS = ROOT / "build" / "bench"
"""Where a run goes whose figures must not take the place of a whole run's."""
SECTIONS = (
    "in-process",
    "sizes",
    "revocation",
    "gateways",
    "people",
    "feed",
    "commands",
    "documentation",
    "crawls",
    "metrics",
    "backup",
)
SIZES = (10_000, 1_000_000, 10_000_000)
SHORT_SIZES = SIZES[:2]
REVOKES, SHORT_REVOKES = 1_000, 100
QUESTIONS, SHORT_QUESTIONS = 200, 20
"""How often each question of an administrator is asked."""
COPIED_KEYS, SHORT_COPIED_KEYS = 1_000_000, 10_000
FOLLOWED_REVOKES, SHORT_FOLLOWED_REVOKES = 500, 50
WARM_UP_SECONDS = 2
SIZE_SECONDS = 5


def main() -> None:
    """Read the options, measure, write."""
    options = _options()
    if missing := missing_tools():
        sys.exit("\n".join(map(str, missing)))
    if (os.cpu_count() or 1) < CORES_NEEDED:
        sys.exit("The benchmark needs two cores: one for the server, one for the load.")
    # So that every `finally` runs.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    pin_this_process()
    with tempfile.TemporaryDirectory(prefix="keyturn-bench-") as directory:
        results = _measure(options, Path(directory))
    _write(results, options.output or (SHORT_RESULTS if _is_short(options) else RESULTS))


def _measure(options: argparse.Namespace, directory: Path) -> dict[str, Any]:
    """Measure what the options ask for."""
    only: Sequence[str] = options.only
    machine = describe_machine()
    results: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "is_short": _is_short(options),
        "machine": machine,
        "differing_ground": differing_ground(machine),
    }
    places = {name: directory / name for name in ("throughput", *SECTIONS)}
    for place in places.values():
        place.mkdir()
    if targets := _chosen_targets(only):
        plan = Plan(options.rounds, options.seconds, 1 if options.quick else WARM_UP_SECONDS)
        results["throughput"] = measure_throughput(targets, plan, places["throughput"])
    if not only or "in-process" in only:
        seconds = REPEAT_SECONDS / 10 if options.quick else REPEAT_SECONDS
        results["in_process"] = _or_why_not(
            lambda: measure_in_process(places["in-process"], repeats=REPEATS, seconds=seconds)
        )
    if not only or "sizes" in only:
        seconds = 1 if options.quick else SIZE_SECONDS
        results["sizes"] = measure_sizes(places["sizes"], options.sizes, seconds=seconds)
    if not only or "revocation" in only:
        revokes = SHORT_REVOKES if options.quick else REVOKES
        results["revocation"] = measure_revocation(places["revocation"], revokes)
    if not only or "gateways" in only:
        plan = Plan(options.rounds, options.seconds, 1 if options.quick else WARM_UP_SECONDS)
        results["gateways"] = measure_gateways(places["gateways"], plan)
    if not only or "people" in only:
        questions = SHORT_QUESTIONS if options.quick else QUESTIONS
        results["people"] = measure_people(places["people"], questions)
    if not only or "feed" in only:
        keys = SHORT_COPIED_KEYS if options.quick else COPIED_KEYS
        revokes = SHORT_FOLLOWED_REVOKES if options.quick else FOLLOWED_REVOKES
        results["feed"] = measure_feed(places["feed"], keys, revokes)
    alone: dict[str, Callable[[], Any]] = {
        "commands": measure_commands,
        "documentation": lambda: measure_documentation(places["documentation"]),
        "crawls": lambda: measure_crawls(places["crawls"], is_short=options.quick),
        "metrics": lambda: measure_metrics(places["metrics"], is_short=options.quick),
        "backup": lambda: measure_backups(places["backup"], is_short=options.quick),
    }
    return results | {
        name: _or_why_not(measure) for name, measure in alone.items() if not only or name in only
    }


def _chosen_targets(only: Sequence[str]) -> list[Target]:
    """Return the targets to put under load, with the one that ratios are to; none if none was named."""
    named = [target for target in TARGETS if not only or target.name in only]
    return [target for target in TARGETS if target in named or (named and target.name == BASELINE)]


def _or_why_not(measure: Callable[[], Any]) -> Any:
    try:
        return measure()
    except NotMeasured as error:
        return {"not_measured": reason_of(error)}


def _write(results: dict[str, Any], directory: Path) -> None:
    """Write the results, and draw them if that is possible."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "results.json"
    file.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    report = as_markdown(results)
    (directory / "results.md").write_text(report)
    try:
        run_command(peers_python(), "-m", "bench.plots", str(file), str(directory))
    except NotMeasured as error:
        print(f"no plots: {error}", file=sys.stderr)
    print(report)
    print(f"Written to {directory.relative_to(ROOT) if directory.is_relative_to(ROOT) else directory}")


def _is_short(options: argparse.Namespace) -> bool:
    return bool(options.quick or options.only)


def _options() -> argparse.Namespace:
    names = [target.name for target in TARGETS] + list(SECTIONS)
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, help="how often each target is measured [5; quick: 1]")
    parser.add_argument("--seconds", type=int, help="for how long each time [5; quick: 1]")
    parser.add_argument(
        "--only", action="append", default=[], choices=names, metavar="NAME", help=", ".join(names)
    )
    parser.add_argument(
        "--sizes", type=_numbers, help="how many keys, with commas between [10000,1000000,10000000]"
    )
    parser.add_argument("--quick", action="store_true", help="a short run, to try it out")
    parser.add_argument("--output", type=Path, help="where to write [bench/results; short: build/bench]")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 5)
    options.seconds = options.seconds or (1 if options.quick else 5)
    options.sizes = options.sizes or (SHORT_SIZES if options.quick else SIZES)
    return options


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


if __name__ == "__main__":
    main()

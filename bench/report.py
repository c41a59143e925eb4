"""The results as Markdown, from the same dictionary that results.json holds."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Results = dict[str, Any]

IN_PROCESS_TITLES = {
    "floor": "SHA-256 and a dictionary alone",
    "key": "raw key",
    "token": "bearer token",
    "refused-checksum": "refused: wrong checksum",
    "refused-unknown": "refused: well formed, never issued",
}


def as_markdown(results: Results) -> str:
    """Return the whole report."""
    parts = [_heading(results)]
    for name, section in _SECTIONS.items():
        if name in results:
            parts += section(results[name])
    return "\n\n".join(parts) + "\n"


def _feed(figures: dict[str, Any]) -> list[str]:
    title = "## The verifier that follows the feed"
    if "not_measured" in figures:
        return [title, f"Not measured: {_cell(figures['not_measured'])}"]
    megabyte = 1024 * 1024
    rows = [
        (f"copy of {figures['keys']:,} keys, s", f"{figures['seconds_to_copy']:.1f}"),
        ("its process then, MB resident", f"{figures['resident_bytes'] / megabyte:,.0f}"),
        (f"revoke to refusal, p50 of {figures['revokes']:,}, ms", _ms(figures["p50_ms"])),
        ("the same, p99, ms", _ms(figures["p99_ms"])),
        ("the same, longest, ms", _ms(figures["max_ms"])),
        ("verifications/s of a remembered key", f"{figures['verifications_per_second']:,.0f}"),
        ("the same by a verifier on the database", f"{figures['local_verifications_per_second']:,.0f}"),
    ]
    text = (
        "Server and verifier have a core each, on one machine. The clock starts when a revoke is answered, "
        "and stops at the first refusal in the verifier's process."
    )
    return [title, text, _table(("What", "Figure"), rows)]


def _heading(results: Results) -> str:
    machine = results["machine"]
    made = (
        f"Made by `make bench` on {results['date']}: {machine['processor']}, {machine['cores']} cores, "
        f"{machine['kernel']}, Python {machine['python']}. The server has one core, wrk the other. "
        "`results.json` has every run and the versions of everything."
    )
    lines = ["# Results", "", made]
    if results["is_short"]:
        lines += ["", "**A short run, to try the benchmark out: its figures mean nothing.**"]
    if results["differing_ground"]:
        names = ", ".join(results["differing_ground"])
        lines += ["", f"**Keyturn and its peers ran on different versions of {names}.**"]
    return "\n".join(lines)


def _throughput(throughput: dict[str, Any]) -> list[str]:
    rounds, seconds = throughput["rounds"], throughput["seconds"]
    text = (
        f"Rounds: {rounds}, of {seconds} s for each target in turn; {throughput['connections']} connections. "
        "Requests/s is the median, with the lowest and highest round; the ratio is to the bare ASGI "
        "application of the same round."
    )
    rows = []
    for target in _fastest_first(throughput["targets"]):
        if "not_measured" in target:
            rows.append((target["title"], f"not measured: {_cell(target['not_measured'])}", "", "", "", ""))
            continue
        rate = target["requests_per_second"]
        ratio = target["ratio_to_bare"]
        rows.append(
            (
                target["title"] + _unanswered(target["failures"]),
                f"{rate['median']:,.0f}",
                f"{rate['min']:,.0f}–{rate['max']:,.0f}",
                "" if ratio is None else _ratio(ratio),
                _ms(target["p50_ms"]),
                _ms(target["p99_ms"]),
            )
        )
    header = ("Target", "Requests/s", "Lowest–highest", "Ratio to bare", "p50, ms", "p99, ms")
    return ["## Requests per second and core", text, _table(header, rows)]


def _unanswered(failures: int) -> str:
    return f" ({failures} requests without an answer)" if failures else ""


def _fastest_first(targets: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(targets, key=lambda target: -target.get("requests_per_second", {"median": 0})["median"])


def _in_process(figures: dict[str, Any]) -> list[str]:
    title = "## Verifications per second and core, in process"
    if "not_measured" in figures:
        return [title, f"Not measured: {figures['not_measured']}"]
    rows = [
        (IN_PROCESS_TITLES[name], f"{rates['median']:,.0f}", f"{rates['best']:,.0f}")
        for name, rates in figures.items()
    ]
    return [title, _table(("What", "Median", "Best"), rows)]


def _sizes(sizes: Sequence[dict[str, Any]]) -> list[str]:
    costs, latencies = [], []
    for size in sizes:
        keys = f"{size['keys']:,}"
        if "not_measured" in size:
            costs.append((keys, f"not measured: {_cell(size['not_measured'])}", "", "", ""))
            continue
        costs.append(
            (
                keys,
                f"{size['database_bytes'] / 1e6:,.0f}",
                f"{size['seconds_to_ready']:.2f}",
                f"{size['resident_bytes_at_start'] / 1e6:,.0f}",
                f"{size['resident_bytes_after_load'] / 1e6:,.0f}",
            )
        )
        latencies += [
            (
                keys,
                _drawn_from(latency),
                str(latency["connections"]),
                _ms(latency["p50_ms"]),
                _ms(latency["p99_ms"]),
                f"{latency['requests_per_second']:,.0f}",
            )
            for latency in size["latencies"]
        ]
    return [
        "## Number of keys",
        _table(
            ("Keys", "Database, MB", "Start, s", "Memory after the start, MB", "Memory after the load, MB"),
            costs,
        ),
        _table(("Keys", "Presented", "Connections", "p50, ms", "p99, ms", "Requests/s"), latencies),
    ]


def _drawn_from(latency: dict[str, Any]) -> str:
    if latency["drawn_from"] == "working set":
        return "10,000 of them, over and over"
    return "any of all, each once" if latency["each_at_most_once"] else "any of all"


def _revocation(arrangements: Sequence[dict[str, Any]]) -> list[str]:
    rows = [
        (arrangement["title"], f"not measured: {_cell(arrangement['not_measured'])}", "", "", "", "", "")
        if "not_measured" in arrangement
        else (
            arrangement["title"],
            f"{arrangement['revokes']:,}",
            _ms(arrangement["p50_ms"]),
            _ms(arrangement["p99_ms"]),
            _ms(arrangement["longest_ms"]),
            str(arrangement["accepted_after"]),
            str(arrangement["never_refused"]),
        )
        for arrangement in arrangements
    ]
    text = "From the acknowledgement of the revoke to the first refusal, the request for it included."
    header = (
        "Arrangement",
        "Revokes",
        "p50, ms",
        "p99, ms",
        "Longest, ms",
        "Accepted after",
        "Never refused",
    )
    return ["## Revocation", text, _table(header, rows)]


def _gateways(gateways: Sequence[dict[str, Any]]) -> list[str]:
    rows = [
        (gateway["title"], f"not measured: {_cell(gateway['not_measured'])}", "", "", "")
        if "not_measured" in gateway
        else (
            f"{gateway['title']} {gateway['version']}",
            f"{gateway['open_per_second']:,.0f}",
            f"{gateway['checked_per_second']:,.0f}",
            _ratio(gateway["ratio"]),
            _ms(gateway["checked_p99_ms"]),
        )
        for gateway in gateways
    ]
    text = "An open route and one that asks, of one gateway, before one bare server; all of them on one core."
    header = ("Gateway", "Open, requests/s", "Asking Keyturn", "Ratio", "p99, ms")
    return ["## Behind a gateway", text, _table(header, rows)]


def _crawls(figures: Mapping[str, Any]) -> list[str]:
    title = "## Crawls, and lists of what they find"
    if "not_measured" in figures:
        return [title, f"Not measured: {_cell(figures['not_measured'])}"]
    told = (
        f"{figures['tables']:,} tables of {figures['columns']} columns in PostgreSQL: the first crawl took "
        f"{figures['first_seconds']:.1f} s, one without a change {figures['second_seconds']:.1f} s, the "
        f"process that crawls {figures['crawler_megabytes']:.0f} MB. `/verify` at {figures['rate']:,.0f} "
        f"requests/s (an open loop): p99 {_ms(figures['p99_alone_ms'])} ms alone, "
        f"{_ms(figures['p99_during_ms'])} ms during a crawl, ratio {figures['ratio']:.2f}."
    )
    rows = [
        (row["database"], row["title"], _ms(row["p50_ms"]), _ms(row["longest_ms"]))
        for row in figures["lists"]
    ]
    header = ("Database", f"Of {figures['objects']:,} objects", "p50, ms", "Longest, ms")
    return [title, told, _table(header, rows)]


def _metrics(figures: Mapping[str, Any]) -> list[str]:
    title = "## The cost of metrics"
    if "not_measured" in figures:
        return [title, f"Not measured: {_cell(figures['not_measured'])}"]
    lowest, highest = min(figures["ratios"]), max(figures["ratios"])
    told = (
        f"`/verify` of a remembered key, {figures['pairs']} alternating pairs of {figures['seconds']} s: "
        f"{figures['without']:,.0f} requests for a second of the server's processor without metrics, "
        f"{figures['with']:,.0f} with metrics that are "
        f"asked for every second. The median of the ratios is {figures['ratio']:.3f} ({lowest:.3f} to "
        f"{highest:.3f}). {figures['counted']:,.0f} verifications were counted."
    )
    return [title, told]


def _backup(figures: Mapping[str, Any]) -> list[str]:
    title = "## A backup meanwhile"
    if "not_measured" in figures:
        return [title, f"Not measured: {_cell(figures['not_measured'])}"]
    told = (
        f"{figures['keys']:,} keys, {figures['megabytes']:.0f} MB: a verified backup took "
        f"{figures['seconds']:.1f} s on the server's core. `/verify` at {figures['rate']:,.0f} requests/s "
        f"(an open loop): p99 {_ms(figures['p99_alone_ms'])} ms alone, {_ms(figures['p99_during_ms'])} ms "
        f"during a backup, ratio {figures['ratio']:.2f}."
    )
    return [title, told]


def _people(figures: Sequence[dict[str, Any]]) -> list[str]:
    rows = [
        (figure["database"], f"not measured: {_cell(figure['not_measured'])}", "", "", "")
        if "not_measured" in figure
        else (
            figure["database"],
            figure["title"],
            f"{figure['bytes'] / 1000:,.0f}",
            _ms(figure["p50_ms"]),
            _ms(figure["p99_ms"]),
        )
        for figure in figures
    ]
    text = (
        "10,000 users with a key each, 300 keys of the reader, 1,000 groups of 20; one question at a time, "
        "on one connection."
    )
    header = ("Database", "Query", "Answer, kB", "p50, ms", "p99, ms")
    return ["## What people wait for", text, _table(header, rows)]


def _commands(figures: Any) -> list[str]:
    title = "## Commands that need no server"
    if "not_measured" in figures:
        return [title, f"Not measured: {_cell(figures['not_measured'])}"]
    rows = [(one["command"], f"{one['median']:.3f}", f"{one['longest']:.3f}") for one in figures]
    return [title, _table(("Command", "Median, s", "Longest, s"), rows)]


def _documentation(figures: Any) -> list[str]:
    title = "## The documentation"
    if "not_measured" in figures:
        return [title, f"Not measured: {_cell(figures['not_measured'])}"]
    rows = [
        (name, str(one["count"]), *(_ms(one[figure]) for figure in ("p50_ms", "p95_ms", "longest_ms")))
        for name, one in (("A question", figures["questions"]), ("A page", figures["pages"]))
    ]
    text = "One request at a time, on one connection."
    return [title, text, _table(("Request", "Requests", "p50, ms", "p95, ms", "Longest, ms"), rows)]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table, the first column to the left and the others to the right."""
    marks = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, marks, *rows))


def _ms(milliseconds: float) -> str:
    return f"{milliseconds:.2f}"


def _cell(text: str) -> str:
    """Return a text that does not break its table."""
    return " ".join(text.split()).replace("|", "\\|")


def _ratio(ratio: float) -> str:
    """Return a ratio with as many digits as tell something."""
    return f"{ratio:.3f}" if ratio >= 0.01 else f"{ratio:.5f}"


_SECTIONS: Mapping[str, Callable[[Any], list[str]]] = {
    "throughput": _throughput,
    "in_process": _in_process,
    "sizes": _sizes,
    "revocation": _revocation,
    "gateways": _gateways,
    "crawls": _crawls,
    "metrics": _metrics,
    "backup": _backup,
    "people": _people,
    "feed": _feed,
    "commands": _commands,
    "documentation": _documentation,
}
"""The parts of the report, in their order."""

"""Plots of results.json, for documents on white or dark ground.

Run with the Python of `.venv-bench`, the only one that has matplotlib: `-m bench.plots RESULTS DIRECTORY`.
"""

# mypy: ignore-errors
# matplotlib is in .venv-bench, where mypy does not look.

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

COLOURS = {"bare": "#9aa0a6", "keyturn": "#1a5fb4", "other": "#8fb8ea", "peer": "#c77c11"}
LABELS = {
    "bare": "Nothing checked",
    "keyturn": "Keyturn, verification",
    "other": "Keyturn, other requests",
    "peer": "Peers, verification",
}
LINES = {"working set": "-", "all": "--"}
PRESENTED = {"working set": "10,000 keys, over and over", "all": "any of all keys"}

mpl.rcParams |= {
    "font.family": "sans-serif",
    "font.size": 10,
    "svg.hashsalt": "keyturn",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "savefig.facecolor": "white",
}


def draw_throughput(throughput: dict[str, Any], file: Path) -> None:
    """Draw requests per second as bars, on a logarithmic scale: the slowest is a hundredth of the fastest."""
    targets = [target for target in throughput["targets"] if "requests_per_second" in target]
    targets.sort(key=lambda target: target["requests_per_second"]["median"])
    rates = [target["requests_per_second"] for target in targets]
    medians = [rate["median"] for rate in rates]
    spread = [
        [rate["median"] - rate["min"] for rate in rates],
        [rate["max"] - rate["median"] for rate in rates],
    ]
    figure, axes = plt.subplots(figsize=(9, 0.36 * len(targets) + 1.3), layout="constrained")
    bars = axes.barh(
        [target["title"] for target in targets],
        medians,
        xerr=spread,
        color=[COLOURS[target["group"]] for target in targets],
        error_kw={"elinewidth": 1, "ecolor": "#333333"},
    )
    axes.bar_label(bars, [f"{value:,.0f}" for value in medians], padding=6)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.set_xlim(left=1, right=max(medians) * 3)
    axes.margins(y=0.01)
    axes.set_xlabel("requests per second on one core, median of the rounds (logarithmic)")
    shown = {target["group"] for target in targets}
    handles = [plt.Rectangle((0, 0), 1, 1, color=COLOURS[group]) for group in LABELS if group in shown]
    axes.legend(
        handles, [LABELS[group] for group in LABELS if group in shown], loc="lower right", frameon=False
    )
    _save(figure, file)


def draw_sizes(sizes: list[dict[str, Any]], file: Path) -> None:
    """Draw the latency of a verification by the number of keys, p50 and p99."""
    measured = [size for size in sizes if "latencies" in size]
    figure, panels = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained")
    for panel, connections in zip(panels, (1, 32), strict=True):
        for drawn_from, line in LINES.items():
            for quantile, colour in (("p50_ms", "#1a5fb4"), ("p99_ms", "#c77c11")):
                points = [
                    (size["keys"], latency[quantile])
                    for size in measured
                    for latency in size["latencies"]
                    if latency["connections"] == connections and latency["drawn_from"] == drawn_from
                ]
                label = f"{quantile.removesuffix('_ms')}, {PRESENTED[drawn_from]}"
                panel.plot(
                    *zip(*points, strict=True), line, color=colour, marker="o", markersize=4, label=label
                )
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        panel.yaxis.set_minor_formatter(NullFormatter())
        panel.grid(axis="y", alpha=0.3)
        panel.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        panel.set_xlabel("keys in the database")
        panel.set_ylabel("milliseconds (logarithmic)")
        panel.set_title("1 connection" if connections == 1 else f"{connections} connections", fontsize=10)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    _save(figure, file)


def _save(figure: plt.Figure, file: Path) -> None:
    figure.savefig(file, metadata={"Date": None, "Creator": None})
    plt.close(figure)


def main(results: Path, directory: Path) -> None:
    """Draw whatever the results have."""
    read = json.loads(results.read_text())
    if any("requests_per_second" in target for target in read.get("throughput", {}).get("targets", [])):
        draw_throughput(read["throughput"], directory / "throughput.svg")
    if any("latencies" in size for size in read.get("sizes", [])):
        draw_sizes(read["sizes"], directory / "sizes.svg")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

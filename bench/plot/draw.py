"""Bars of requests per second, from the medians of a result file: `draw.py RESULT.json PICTURE.svg`.

Run by `bench/report.py` in the environment that requirements.lock describes.
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot

COLOURS = {"ours": "#1f5fa8", "limit": "#c9c9c9"}
OTHER = "#8a9bb0"
PANELS = (
    ("tiny", "one row of V2 JSON, requests/s"),
    ("grpc", "the same row over gRPC, requests/s"),
    ("binary", "a binary tensor of 588 KiB, requests/s"),
)


def main() -> None:
    result, picture = map(Path, sys.argv[1:3])
    medians = json.loads(result.read_text())["medians"]
    panels = [(title, bars) for workload, title in PANELS if (bars := headline(medians, workload))]
    pyplot.rcParams |= {"font.size": 9, "svg.hashsalt": "moorage", "svg.fonttype": "none", "font.family": "sans-serif"}
    heights = [len(bars) + 1 for _, bars in panels]
    figure, axes = pyplot.subplots(
        len(panels), figsize=(7.2, 0.34 * sum(heights) + 0.5 * len(panels)), height_ratios=heights, squeeze=False
    )
    for (title, bars), axis in zip(panels, axes[:, 0], strict=True):
        draw(axis, title, bars)
    figure.tight_layout()
    figure.savefig(picture, metadata={"Date": None})


def headline(medians: list[dict[str, object]], workload: str) -> list[dict[str, object]]:
    """The medians at a workload's headline, the fastest first: bench/protocols.toml measures that one last."""
    of_workload = [one for one in medians if one["workload"] == workload]
    connections = of_workload[-1]["connections"] if of_workload else 0
    bars = [one for one in of_workload if one["connections"] == connections]
    return sorted(bars, key=lambda one: -one["requests_per_s"])


def draw(axis: pyplot.Axes, title: str, bars: list[dict[str, object]]) -> None:
    """One panel."""
    names = [f"{one['entrant']} (c={one['connections']})" for one in bars]
    values = [one["requests_per_s"] for one in bars]
    drawn = axis.barh(names, values, color=[COLOURS.get(one["role"], OTHER) for one in bars], height=0.7)
    axis.bar_label(drawn, [f"{value:,.0f}" for value in values], padding=3)
    axis.invert_yaxis()
    axis.set_title(title, loc="left", fontsize=9)
    axis.margins(x=0.12)
    axis.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()

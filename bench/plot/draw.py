"""Panels of bars: `draw.py PICTURE.svg < panels.json`, a list of {"title", "bars": [{"name", "value", "label", "role"}]}.

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


def main() -> None:
    picture = Path(sys.argv[1])
    panels = json.load(sys.stdin)
    pyplot.rcParams |= {"font.size": 9, "svg.hashsalt": "moorage", "svg.fonttype": "none", "font.family": "sans-serif"}
    heights = [len(panel["bars"]) + 1 for panel in panels]
    figure, axes = pyplot.subplots(
        len(panels), figsize=(7.2, 0.34 * sum(heights) + 0.5 * len(panels)), height_ratios=heights, squeeze=False
    )
    for panel, axis in zip(panels, axes[:, 0], strict=True):
        draw(axis, panel["title"], panel["bars"])
    figure.tight_layout()
    figure.savefig(picture, metadata={"Date": None})


def draw(axis: pyplot.Axes, title: str, bars: list[dict[str, object]]) -> None:
    """One panel."""
    colours = [COLOURS.get(one["role"], OTHER) for one in bars]
    drawn = axis.barh([one["name"] for one in bars], [one["value"] for one in bars], color=colours, height=0.7)
    axis.bar_label(drawn, [one["label"] for one in bars], padding=3)
    axis.invert_yaxis()
    axis.set_title(title, loc="left", fontsize=9)
    axis.margins(x=0.12)
    axis.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()

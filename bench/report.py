"""Tables and pictures for docs/reference/benchmarks.md: `.venv/bin/python bench/report.py [RESULT.json ...]`.

Without arguments it takes the result files of bench/results. What stands between a section's two markers is replaced; the
prose around it is written by hand.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.controller import section as controller  # noqa: E402
from bench.harness import environments  # noqa: E402
from bench.predictor import section as predictor  # noqa: E402
from bench.protocols import section as protocols  # noqa: E402

RESULTS = ROOT / "bench" / "results"
PAGE = ROOT / "docs" / "reference" / "benchmarks.md"
PLOT = ROOT / "bench" / "plot"
END = "<!-- end of figures -->"

Result = dict[str, Any]


@dataclass(frozen=True)
class Section:
    """One part of the page. `text` gets the picture's name."""

    begin: str
    picture: Path
    text: Callable[[Result, str], str]
    panels: Callable[[Result], list[dict[str, Any]]]


PROTOCOLS = Section(
    "<!-- figures: made by bench/report.py -->", PAGE.with_suffix(".svg"), protocols.text, protocols.panels
)
PREDICTOR = Section(
    "<!-- figures of images: made by bench/report.py -->",
    PAGE.with_name("benchmarks-images.svg"),
    predictor.text,
    predictor.panels,
)
OPERATOR = Section(
    "<!-- figures of the controller: made by bench/report.py -->",
    PAGE.with_name("benchmarks-controller.svg"),
    controller.text,
    controller.panels,
)
TOLD_BY = {"growth": OPERATOR, "processes": PREDICTOR}
"""The key of a result file that tells whose it is."""


def main() -> None:
    files = [Path(name) for name in sys.argv[1:]]
    for file in files or [RESULTS / f"{name}.json" for name in ("protocols", "predictor", "operator")]:
        if files or file.exists():
            result = json.loads(file.read_text())
            section = next((found for key, found in TOLD_BY.items() if key in result), PROTOCOLS)
            PAGE.write_text(replaced(PAGE.read_text(), section, result))
            draw(section, result)
            print(f"{PAGE.relative_to(ROOT)} and {section.picture.name} are written from {file.name}")


def replaced(page: str, section: Section, result: Result) -> str:
    """The page with the section's figures made anew."""
    before, rest = page.split(section.begin)
    _, after = rest.split(END, maxsplit=1)
    return before + section.begin + "\n\n" + section.text(result, section.picture.name) + "\n" + END + after


def draw(section: Section, result: Result) -> None:
    """The picture, by matplotlib in an environment of its own: it is no dependency of the product."""
    python = environments.locked(PLOT / "requirements.lock")
    panels = json.dumps(section.panels(result))
    subprocess.run([str(python), str(PLOT / "draw.py"), str(section.picture)], check=True, input=panels, text=True)


if __name__ == "__main__":
    main()

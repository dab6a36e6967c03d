"""Measured cold starts as one SVG: a bar for each run, a colour for each stage. Called by `cold_start`.

Drawn by hand: a drawing library would be the command's only heavy dependency.
"""

from typing import Final
from xml.sax.saxutils import escape

from moorage.cli.bench.measure import STAGES, ColdStart
from moorage.cli.bench.report import COLOURS, Measured

_WIDTH: Final = 760
_LEFT: Final = 70
_RIGHT: Final = 70
_TOP: Final = 44
_ROW: Final = 26
_BAR: Final = 18
_STEPS: Final = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)
"""Seconds between two lines of the axis."""
_MOST_LINES: Final = 10


def svg(measured: Measured) -> str:
    """The whole file."""
    rows = [(f"run {number}", run) for number, run in enumerate(measured.runs, start=1)]
    rows += [(f"floor {number}", one) for number, one in enumerate(measured.floors, start=1)]
    longest = max(run.total for _, run in rows) or 1.0
    scale = (_WIDTH - _LEFT - _RIGHT) / longest
    height = _TOP + _ROW * len(rows) + 24
    parts = [*_legend(), *_axis(longest, scale, height)]
    for index, (name, run) in enumerate(rows):
        parts += _row(name, run, _TOP + index * _ROW, scale)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
            'font-family="sans-serif" font-size="12">',
            f"<title>Cold start, {measured.total:.2f} s (median)</title>",
            f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
            *parts,
            "</svg>",
            "",
        ]
    )


def _legend() -> list[str]:
    parts, x = [], float(_LEFT)
    for stage, meaning in STAGES.items():
        parts.append(f'<rect x="{x:.0f}" y="10" width="12" height="12" fill="{COLOURS[stage]}"/>')
        parts.append(f'<text x="{x + 17:.0f}" y="20">{stage}<title>{escape(meaning)}</title></text>')
        x += 40 + 7 * len(stage)
    return parts


def _axis(longest: float, scale: float, height: int) -> list[str]:
    step = next((one for one in _STEPS if longest / one <= _MOST_LINES), longest)
    parts = []
    for number in range(int(longest / step) + 1):
        x = _LEFT + number * step * scale
        parts.append(f'<line x1="{x:.1f}" y1="{_TOP - 6}" x2="{x:.1f}" y2="{height - 20}" stroke="#dddddd"/>')
        parts.append(f'<text x="{x:.1f}" y="{height - 6}" text-anchor="middle">{number * step:g} s</text>')
    return parts


def _row(name: str, run: ColdStart, y: int, scale: float) -> list[str]:
    parts = [f'<text x="{_LEFT - 8}" y="{y + 13}" text-anchor="end">{name}</text>']
    x = float(_LEFT)
    for stage in STAGES:
        seconds = run.seconds.get(stage, 0.0)
        width = max(0.0, seconds * scale)
        parts.append(
            f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_BAR}" fill="{COLOURS[stage]}">'
            f"<title>{stage} {seconds:.2f} s</title></rect>"
        )
        x += width
    parts.append(f'<text x="{x + 6:.1f}" y="{y + 13}">{run.total:.2f} s</text>')
    return parts

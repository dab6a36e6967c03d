"""Tables and panels that the two sections of docs/reference/benchmarks.md are made of. Pure; called by the `section.py`s."""

from collections.abc import Mapping, Sequence
from typing import Any


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [headers, tuple("---" for _ in headers), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def heading(result: Mapping[str, Any]) -> str:
    """The command, the machine, the versions."""
    settings = result["settings"]
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return (
        f"{machine(result)} {versions}. "
        f"{settings['repetitions']} repetitions, {settings['duration_s']:g} s for a headline point."
    )


def machine(result: Mapping[str, Any]) -> str:
    """The command and the machine."""
    found = result["machine"]
    return (
        f"`{result['command']}` on {result['date']}: {found['cpu']}, {found['cores']} cores, "
        f"{found['memory_gib']} GiB, {found['system']}, Python {found['python']}."
    )


def ratios(figures: Mapping[str, float | None], meanings: Mapping[str, str]) -> str:
    """The figures of the RESULT line, each with what it means."""
    rows = [(name, meanings[name], "-" if value is None else str(value)) for name, value in figures.items()]
    return table(("figure", "meaning", "value"), rows)


def points(best: Mapping[str, Any], swept: Sequence[tuple[str, Mapping[str, Any], float]], unit: str) -> str:
    """Every point of the grids, with what the sweep found and what was taken."""
    rows = []
    for name, taken in best.items():
        tried = sorted((one for one in swept if one[0] == name), key=lambda one: -one[2])
        for _, point, speed in tried:
            rows.append(
                (name, _point(point), f"{speed:,.0f}" if speed >= 1000 else f"{speed:.1f}", _yes(point == taken))
            )
        if not tried:
            rows.append((name, _point(taken), "", "yes"))
    return table(("server", "point", f"{unit} in the sweep", "taken"), rows)


def _yes(value: bool) -> str:
    return "yes" if value else ""


def _point(point: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in point.items())


def bar(name: str, value: float, role: str, digits: int = 0) -> dict[str, Any]:
    """One bar of a panel, as bench/plot/draw.py takes it; `role` is "ours", "limit" or another."""
    return {"name": name, "value": value, "label": f"{value:,.{digits}f}", "role": role}


def panel(title: str, bars: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Bars under a title."""
    return {"title": title, "bars": list(bars)}

"""Results -> what people and programs read: a table a section on a terminal, plain lines elsewhere, or JSON."""

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from moorage.cli.conformance.catalog import sections
from moorage.cli.conformance.run import Result
from moorage.cli.conformance.target import Target
from moorage.cli.conformance.vocabulary import Case
from moorage.cli.screen import console

_ORDER: Final = ("passed", "failed", "off", "skipped")
_STYLE: Final = {"passed": "green", "failed": "bold red", "off": "yellow", "skipped": "dim"}


def as_list(cases: Iterable[Case]) -> str:
    """One line a case: id, level, what a server must do."""
    lines = []
    for name, group in groupby(cases, key=lambda case: case.section):
        section = sections()[name]
        lines += ["", f"{name}: {section.title}. {section.about}"]
        lines += [f"  {case.id}  [{case.level}{', slow' if case.slow else ''}]  {case.says}" for case in group]
    return "\n".join(lines).lstrip() + "\n"


def as_text(target: Target, results: Iterator[Result]) -> list[Result]:
    """Print each section as soon as it is done, and the summary last."""
    screen, done = console(), []
    screen.print(Text.assemble((target.url, "bold"), " against the Open Inference Protocol"))
    for name, group in groupby(results, key=lambda result: result.case.section):
        found = list(group)
        done += found
        _section(screen, name, found)
    screen.print()
    screen.print(Text(summary(done)))
    return done


def as_json(target: Target, results: Iterator[Result]) -> list[Result]:
    """Print one document once all is done."""
    done = list(results)
    document = {
        "url": target.url,
        "counts": counts(done),
        "results": [_plain(result) for result in done],
    }
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    return done


def summary(results: Iterable[Result]) -> str:
    """The last line."""
    found = counts(results)
    return f"{sum(found.values())} cases: " + ", ".join(f"{found[name]} {name}" for name in _ORDER)


def counts(results: Iterable[Result]) -> dict[str, int]:
    """How many cases had which outcome."""
    found = Counter(result.outcome for result in results)
    return {name: found[name] for name in _ORDER}


def readable(text: str) -> str:
    """One line, without what a terminal would act on."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in " ".join(text.split()))


def _plain(result: Result) -> dict[str, Any]:
    case = result.case
    return {
        "id": case.id,
        "section": case.section,
        "level": case.level,
        "says": case.says,
        "reference": case.reference,
        "outcome": result.outcome,
        "expected": result.expected,
        "found": result.found,
        "seconds": round(result.seconds, 3),
    }


def _section(screen: Console, name: str, found: list[Result]) -> None:
    tally = counts(found)
    told = ", ".join(f"{count} {outcome}" for outcome, count in tally.items() if count)
    title = Text.assemble(
        (name, "bold"), "  ", (told, "red" if tally["failed"] else "green" if tally["passed"] else "dim")
    )
    screen.print()
    screen.print(title)
    if screen.is_terminal:
        _table(screen, found)
    else:
        _lines(screen, found)
    for reason, count in Counter(result.found for result in found if result.outcome == "skipped").items():
        screen.print(Text(f"  {count} skipped: {reason}", style="dim"))


def _table(screen: Console, found: list[Result]) -> None:
    table = Table(show_header=False, show_edge=False, pad_edge=False, box=None, padding=(0, 1))
    table.add_column("outcome", no_wrap=True)
    table.add_column("case", style="cyan", overflow="fold", ratio=2)
    table.add_column("what", overflow="fold", ratio=5)
    for result in found:
        if result.outcome in ("failed", "off"):
            table.add_row(Text(result.outcome, style=_STYLE[result.outcome]), Text(result.case.id), _told(result))
    if table.row_count:
        screen.print(table)


def _lines(screen: Console, found: list[Result]) -> None:
    for result in found:
        if result.outcome in ("failed", "off"):
            screen.print(Text(f"  {result.outcome} {result.case.id}"), soft_wrap=True)
            for line in _told(result).plain.splitlines():
                screen.print(Text(f"    {line}"), soft_wrap=True)


def _told(result: Result) -> Text:
    found = readable(result.found)
    if result.outcome == "off":
        return Text(f"not there: {found}")
    return Text.assemble(result.case.says, "\n", ("expected ", "dim"), result.expected, ("; found ", "dim"), found)

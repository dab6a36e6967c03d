"""Writes docs/reference/kserve-sdk-conformance.md: `python -m tests.e2e.conformance.kserve_report`. A test compares.

What is compared are the cases and whether they failed or were not there; the answers' text is for people.
"""

import re
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from itertools import groupby
from pathlib import Path

from tests.e2e.conformance.servers import of_kserve

from moorage.cli.conformance import Result, Target, cases, run
from moorage.cli.conformance.catalog import sections
from moorage.cli.conformance.report import counts, readable

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "kserve-sdk-conformance.md"
LONGEST = 110
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def found(target: Target) -> list[Result]:
    """All results but those of the slow cases, the outcome of which would only be another silence."""
    return list(run(cases(), target, control=True))


def of_this_page(results: list[Result]) -> set[tuple[str, str]]:
    """What the page must list: case and outcome."""
    return {(result.case.id, result.outcome) for result in results if result.outcome in ("failed", "off")}


def listed(page: str) -> set[tuple[str, str]]:
    """What the page lists."""
    failed, _, absent = page.partition("\n## Not there\n")
    row = re.compile(r"^\| `([a-z0-9-]+)` \|", re.MULTILINE)
    return {(name, "failed") for name in row.findall(failed)} | {(name, "off") for name in row.findall(absent)}


def written(results: list[Result]) -> str:
    """The page."""
    tally = counts(results)
    lines = [
        "# What KServe's own server answers",
        "",
        f"KServe's `ModelServer` {version('kserve')} serving a plain `kserve.Model` that answers with its inputs,",
        "`moorage_predictor/examples/identity.py`, and asked by `moor conformance`: how that reads is in",
        "[Check a server](../how-to/check-a-server.md). The same class in Moorage's predictor passes every case.",
        "`python -m tests.e2e.conformance.kserve_report` writes this page, and a test compares.",
        "",
        f"Of {sum(tally.values())} cases {tally['passed']} passed, {tally['failed']} failed, {tally['off']} belong to",
        f"extensions that are not there, and {tally['skipped']} were not asked.",
        "",
        "## Failed",
    ]
    for name, group in groupby(_with("failed", results), key=lambda result: result.case.section):
        lines += [
            "",
            f"### {sections()[name].title}",
            "",
            "| case | what a server must do | what came |",
            "|---|---|---|",
        ]
        lines += [f"| `{each.case.id}` | {_cell(each.case.says)} | {_code(each.found)} |" for each in group]
    lines += ["", "## Not there", "", "| case | extension | what came |", "|---|---|---|"]
    lines += [
        f"| `{each.case.id}` | {each.case.extension or ''} | {_code(each.found)} |" for each in _with("off", results)
    ]
    return "\n".join(lines) + "\n"


def _with(outcome: str, results: list[Result]) -> Iterator[Result]:
    return (result for result in results if result.outcome == outcome)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _code(text: str) -> str:
    short = _ID.sub("…", readable(text)).replace("`", "'")
    return f"`{_cell(short if len(short) <= LONGEST else short[:LONGEST] + '…')}`"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = of_kserve(Path(folder))
        try:
            PAGE.write_text(written(found(server.target)))
        finally:
            server.close()


if __name__ == "__main__":
    main()

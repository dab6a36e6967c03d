"""What `moor conformance` does: choose the cases, ask the server, report, and say by the exit code how it went."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Literal
from urllib.parse import quote, urlsplit

from moorage.api import ExitCode
from moorage.cli.conformance.catalog import SECTIONS, cases
from moorage.cli.conformance.http import UnreachableError
from moorage.cli.conformance.report import as_json, as_list, as_text
from moorage.cli.conformance.run import run
from moorage.cli.conformance.target import Target
from moorage.cli.conformance.vocabulary import LEVELS, Case, Level
from moorage.cli.errors import UserError

FAILED: Final = 1
"""As test programs end; code 1 of other commands is a defect of Moorage, and here one of the server."""


@dataclass(frozen=True)
class ConformanceOptions:
    """The options of the command, as the user gave them."""

    url: str | None
    grpc: str | None = None
    model: str | None = None
    identity: str | None = None
    sections: Sequence[str] = ()
    ids: Sequence[str] = ()
    level: Level = "strict"
    slow: bool = False
    control: bool = False
    output: Literal["text", "json"] = "text"
    list_only: bool = False


def conformance(options: ConformanceOptions) -> int:
    """The exit code: 0 if no case failed, 1 if one did.

    Raises:
        UserError: the options are wrong, or nobody answers at the address.
    """
    chosen = _chosen(options)
    if options.list_only:
        sys.stdout.write(as_list(chosen))
        return ExitCode.OK
    with _target(options) as target:
        _check(options, target)
        results = run(chosen, target, slow=options.slow, control=options.control)
        done = as_json(target, results) if options.output == "json" else as_text(target, results)
    return FAILED if any(result.outcome == "failed" for result in done) else ExitCode.OK


def _check(options: ConformanceOptions, target: Target) -> None:
    """Wrong addresses and names are one sentence, not a failure for each case."""
    try:
        target.check()
        for option, name in (("--model", options.model), ("--identity", options.identity)):
            if name is not None and quote(name) != name:
                raise UserError(f"{option}: expected a name that stands in a URL as it is, found {name!r}")
            if name is not None and target.get(f"/v2/models/{name}").status == HTTPStatus.NOT_FOUND:
                raise UserError(f"{option}: {options.url} has no model {name!r}")
    except UnreachableError as error:
        raise UserError(f"no server answers at {options.url}: {error}", ExitCode.UNAVAILABLE) from error


def _chosen(options: ConformanceOptions) -> list[Case]:
    for section in options.sections:
        if section not in SECTIONS:
            raise UserError(f"--section: expected one of {', '.join(SECTIONS)}, found {section!r}")
    known = {case.id for case in cases()}
    for identifier in options.ids:
        if identifier not in known:
            raise UserError(f"--case: {identifier!r} is no case; `moor conformance --list` names them")
    levels = LEVELS[: LEVELS.index(options.level) + 1]
    return [case for case in cases() if case.level in levels and _wanted(case, options)]


def _wanted(case: Case, options: ConformanceOptions) -> bool:
    return (not options.sections or case.section in options.sections) and (not options.ids or case.id in options.ids)


def _target(options: ConformanceOptions) -> Target:
    if options.url is None:
        raise UserError("expected the server's URL, such as http://127.0.0.1:8080")
    if options.grpc is not None and not _is_address(options.grpc):
        raise UserError(f"--grpc: expected HOST:PORT, found {options.grpc!r}")
    try:
        return Target(options.url, options.grpc, options.model, options.identity)
    except ValueError as error:
        raise UserError(str(error)) from error


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(f"//{text}")
        return bool(parts.hostname) and parts.port is not None and not parts.path
    except ValueError:
        return False

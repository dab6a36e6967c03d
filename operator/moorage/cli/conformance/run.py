"""Cases -> results: is the case for this server, what came back, is it what the case expects. Called by `command.py` and
by tests.

    skipped   something is not known or not there: a model's name, gRPC, --slow
    off       an extension that the server does not announce, or a control endpoint, refused clearly
    passed, failed
"""

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

from moorage.cli.conformance.catalog import fill
from moorage.cli.conformance.expectation import difference, expected
from moorage.cli.conformance.http import Reply, UnreachableError
from moorage.cli.conformance.matching import error_text
from moorage.cli.conformance.rendering import message
from moorage.cli.conformance.rpc import RpcReply
from moorage.cli.conformance.target import Target
from moorage.cli.conformance.tensors import TensorError
from moorage.cli.conformance.vocabulary import Call, Case, Expect, Infer, Request, Tensor

Outcome = Literal["passed", "failed", "skipped", "off"]

_ABSENT: Final = frozenset({404, 405, 415, 501})
_ABSENT_CODES: Final = frozenset({"UNIMPLEMENTED"})
_REFUSED: Final = _ABSENT | {403}
_REFUSED_CODES: Final = _ABSENT_CODES | {"PERMISSION_DENIED"}
_PLACEHOLDER: Final = re.compile(r"\{(model|identity|version)\}")
_OPTIONS: Final = {"identity": "--identity NAME", "model": "--model NAME"}
_Sent = TypeVar("_Sent", Request, Call)


@dataclass(frozen=True)
class Result:
    """How one case went. `found` is what was found instead, or why it was not asked."""

    case: Case
    outcome: Outcome
    expected: str = ""
    found: str = ""
    seconds: float = 0.0


def run(cases: Iterable[Case], target: Target, *, slow: bool = False, control: bool = False) -> Iterator[Result]:
    """The results, one after the other, as they come."""
    for case in cases:
        yield run_case(case, target, slow=slow, control=control)


def run_case(case: Case, target: Target, *, slow: bool = False, control: bool = False) -> Result:
    """Ask the server what the case says, and judge the answer."""
    started = time.perf_counter()
    expect = case.expect
    try:
        if reason := _skipped(case, target, slow, control):
            return Result(case, "skipped", found=reason)
        if case.announced and case.extension not in target.extensions:
            return Result(case, "off", found=f"the server does not announce {case.extension}")
        expect = Expect.model_validate(fill(case.expect.model_dump(exclude_unset=True), target.words))
        outcome, found = _judged(case, expect, target)
        if case.lasting and not target.answers():
            outcome, found = "failed", f"{found or 'the expected answer'}, and then the server answered no more"
    except UnreachableError as error:
        outcome, found = "failed", f"nobody takes connections: {error}"
    return Result(case, outcome, expected(expect), found, time.perf_counter() - started)


def _skipped(case: Case, target: Target, slow: bool, control: bool) -> str | None:
    if case.slow and not slow:
        return "slow: only with --slow"
    if case.control and not control:
        return "changes the server: only with --control"
    if case.call is not None and target.without_grpc:
        return target.without_grpc
    for word in sorted({match[1] for match in _PLACEHOLDER.finditer(_said(case))}):
        if word not in target.words:
            return f"needs {_OPTIONS[word]}" if word in _OPTIONS else "the model's metadata names no versions"
    infer = _infer(case.request or case.call)
    if infer and infer.from_metadata and isinstance(target.inputs, str):
        return target.inputs
    if case.request and case.request.body and case.request.body.raw_input and not target.single_input:
        return "the model's metadata does not name exactly one input with at most one open side"
    return None


def _infer(sent: Request | Call | None) -> Infer | None:
    if isinstance(sent, Request):
        return sent.body.infer if sent.body else None
    return sent.infer if sent else None


def _said(case: Case) -> str:
    """Everything that goes out, as text; with the defaults only where they go out too."""
    texts = []
    for sent in (case.before, case.request, case.call, case.after):
        if sent is None:
            continue
        texts.append(sent.model_dump_json(exclude_unset=True))
        if isinstance(sent, Call):
            texts.append(sent.model if sent.infer else "")
        elif sent.steps is None:
            texts.append(sent.path)
    return " ".join(texts)


def _judged(case: Case, expect: Expect, target: Target) -> tuple[Outcome, str]:
    asked: Request | Call = case.request or case.call  # type: ignore[assignment]  # the model says: exactly one of them
    try:
        if case.before is not None:
            reply = _ask(case.before, target, expect.within_s)
            if case.control and _refusal(reply):
                return "off", str(reply)
        try:
            reply = _ask(asked, target, expect.within_s, further=expect.then is not None)
            said = difference(expect, _infer(asked), reply, _inputs(target))
        except TensorError as error:
            return "failed", str(error)
        if said is None:
            return "passed", ""
        if (case.control and _refusal(reply)) or (_is_absent(reply) and not _has_extension(case, target)):
            return "off", str(reply)
        return "failed", said
    finally:
        if case.after is not None:
            _ask(case.after, target, expect.within_s)


def _has_extension(case: Case, target: Target) -> bool:
    """True for a case of the core, and where the server announces the extension or answers the section's probe."""
    if case.extension is None or case.extension in target.extensions:
        return True
    if case.extension not in target.probed:
        reply = _ask(case.probe, target, case.expect.within_s) if case.probe else None
        target.probed[case.extension] = isinstance(reply, Reply) and reply.status == 200
    return target.probed[case.extension]


def _ask(sent: Request | Call, target: Target, within_s: float, *, further: bool = False) -> Reply | RpcReply:
    if isinstance(sent, Call):
        if target.grpc is None:
            raise UnreachableError("no gRPC")
        return target.grpc.ask(_filled(sent, target), _inputs(target), within_s)
    request = _filled(sent, target)
    if request.steps is not None:
        return target.http.talk(request.steps, within_s, further=further)
    return target.http.ask(message(request, _inputs(target)), within_s)


def _inputs(target: Target) -> Sequence[Tensor]:
    return () if isinstance(target.inputs, str) else target.inputs


def _filled(sent: _Sent, target: Target) -> _Sent:
    written = sent.model_dump(by_alias=True, exclude_unset=True)
    written |= {"model": sent.model} if isinstance(sent, Call) else {"path": sent.path}
    return type(sent).model_validate(fill(written, target.words))


def _is_absent(reply: Reply | RpcReply) -> bool:
    """True for an answer that means: there is nothing here."""
    return reply.code in _ABSENT_CODES if isinstance(reply, RpcReply) else reply.status in _ABSENT


def _refusal(reply: Reply | RpcReply) -> bool:
    """True for an answer that says clearly: not here, or not for you."""
    if isinstance(reply, RpcReply):
        return reply.code in _REFUSED_CODES
    return reply.status in _REFUSED and error_text(reply.body) is not None

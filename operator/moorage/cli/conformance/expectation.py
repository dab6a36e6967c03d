"""What a case expects -> a sentence, and its difference from what came back. Called by `run.py`."""

import json
import re
from collections.abc import Sequence
from typing import Final

from moorage.cli.conformance import rpc
from moorage.cli.conformance.http import Reply
from moorage.cli.conformance.matching import error_text, insides, short, unlike
from moorage.cli.conformance.rendering import HEADER_LENGTH, value
from moorage.cli.conformance.rpc import RpcReply
from moorage.cli.conformance.tensors import TensorError, Value, from_json
from moorage.cli.conformance.vocabulary import CLOSED, Expect, Infer, Tensor

_SLACK: Final = 1.25
"""A busy machine answers late; the suite tests time limits, not speed."""


def expected(expect: Expect) -> str:
    """The expectation in one line."""
    parts = [" or ".join(map(str, expect.status or expect.code))]
    if expect.then is not None:
        parts += [f"and then {' or '.join(map(str, each))}" for each in expect.then] or ["and nothing more"]
    if expect.error and expect.status:
        parts.append('{"error": …}')
    if expect.says:
        parts.append(f"that says {expect.says}")
    if expect.answer is not None:
        parts.append(f"with {short(expect.answer)}")
    if expect.headers:
        parts.append(", ".join(f"{name}: {text}" for name, text in expect.headers.items()))
    if expect.echo:
        parts.append("and every tensor bit for bit")
    return " ".join(parts)


def difference(expect: Expect, infer: Infer | None, reply: Reply | RpcReply, inputs: Sequence[Tensor]) -> str | None:
    """The first difference in words; None if all is as expected.

    Raises:
        TensorError: the answer's tensors are not of the protocol's form.
    """
    if reply_seconds(reply) > expect.within_s * _SLACK:
        return f"{reply}, after {reply_seconds(reply):.1f} s"
    if isinstance(reply, RpcReply):
        return _of_call(expect, infer, reply, inputs)
    if not _has_status(expect.status, reply):
        return str(reply)
    if expect.then is not None and (said := _followed_by(expect.then, reply)):
        return said
    if reply.status is None:
        return None
    for name, pattern in expect.headers.items():
        found = reply.headers.get(name.lower())
        if (found is None) != (pattern == "absent") or (found is not None and not re.search(pattern, found)):
            return f"{reply.status} with {name}: {found or 'absent'}"
    if expect.error and (said := _bad_error(expect, reply)):
        return said
    if expect.answer is not None:
        try:
            document = json.loads(reply.body[: _header_length(reply)])
        except ValueError:
            return f"no JSON: {reply}"
        if said := unlike(expect.answer, document):
            return said
    wants_tensors = expect.echo or expect.tensors or expect.outputs is not None or expect.binary is not None
    if wants_tensors and reply.status == 200:
        return _tensors_differ(expect, infer, outputs(reply), inputs)
    return None


def reply_seconds(reply: Reply | RpcReply) -> float:
    """How long it took; a call over gRPC has its own deadline."""
    return reply.seconds if isinstance(reply, Reply) else 0.0


def _has_status(allowed: Sequence[int | str], reply: Reply) -> bool:
    if reply.status is None:
        return reply.closed and CLOSED in allowed
    return reply.status in allowed or f"{reply.status // 100}xx" in allowed


def _followed_by(expected_next: Sequence[Sequence[int | str]], reply: Reply) -> str | None:
    told = " and then ".join(map(str, (reply, *reply.then)))
    least = [allowed for allowed in expected_next if CLOSED not in allowed]
    if not len(least) <= len(reply.then) <= len(expected_next):
        return f"{1 + len(reply.then)} answers: {told}"
    pairs = zip(expected_next, reply.then, strict=False)
    return None if all(_has_status(allowed, each) for allowed, each in pairs) else told


def _bad_error(expect: Expect, reply: Reply) -> str | None:
    text = error_text(reply.body)
    if reply.status == 200:
        return None  # one of several allowed answers
    if text is None:
        return f"{reply}: not an object with a text `error`"
    return _bad_text(expect, text)


def _bad_text(expect: Expect, text: str) -> str | None:
    if shown := insides(text):
        return f"it shows {shown}"
    if expect.says and not re.search(expect.says, text, re.IGNORECASE):
        return f"it says {text[:200]!r}"
    return None


def _of_call(expect: Expect, infer: Infer | None, reply: RpcReply, inputs: Sequence[Tensor]) -> str | None:
    if reply.code not in expect.code:
        return str(reply)
    if reply.code != "OK":
        return _bad_text(expect, reply.details) if expect.error else None
    if expect.answer is not None and (said := unlike(expect.answer, reply.fields)):
        return said
    if expect.echo or expect.tensors or expect.outputs is not None or expect.binary is not None:
        return _tensors_differ(expect, infer, rpc.outputs(reply), inputs)
    return None


def outputs(reply: Reply) -> list[Value]:
    """The tensors of an answer over HTTP, from its JSON and from what follows it.

    Raises:
        TensorError: they are not of the protocol's form.
    """
    length = _header_length(reply)
    try:
        document = json.loads(reply.body[:length])
    except ValueError:
        raise TensorError(f"no JSON: {reply}") from None
    listed = document.get("outputs") if isinstance(document, dict) else None
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise TensorError(f"no list of outputs: {reply}")
    rest = reply.body[length:] if length is not None else b""
    found = []
    for item in listed:
        size = (item.get("parameters") or {}).get("binary_data_size")
        if size is None:
            found.append(from_json(item, None))
            continue
        if not isinstance(size, int) or len(rest) < size or "data" in item:
            raise TensorError(f"output {item.get('name')}: binary_data_size {size} with {len(rest)} bytes left")
        found.append(from_json(item, rest[:size]))
        rest = rest[size:]
    if rest:
        raise TensorError(f"{len(rest)} bytes follow the last output")
    return found


def _header_length(reply: Reply) -> int | None:
    text = reply.headers.get(HEADER_LENGTH.lower())
    return int(text) if text and text.isdigit() else None


def _tensors_differ(
    expect: Expect, infer: Infer | None, found: Sequence[Value], inputs: Sequence[Tensor]
) -> str | None:
    by_name = {each.name: each for each in found}
    if len(by_name) != len(found):
        return f"outputs of one name: {', '.join(each.name for each in found)}"
    if expect.outputs is not None and set(by_name) != set(expect.outputs):
        return f"outputs {', '.join(by_name) or 'none'} instead of {', '.join(expect.outputs)}"
    wanted = [value(each) for each in expect.tensors]
    if expect.echo and infer is not None:
        sent = inputs if infer.from_metadata else infer.inputs
        wanted += [value(each) for each in sent if expect.outputs is None or each.name in expect.outputs]
    for each in wanted:
        if each.name not in by_name:
            return f"output {each.name} is missing among {', '.join(by_name) or 'none'}"
        if said := each.unlike(by_name[each.name]):
            return f"output {each.name}: {said}"
    if expect.binary is not None:
        as_bytes = {each.name for each in found if each.binary}
        if as_bytes != set(expect.binary):
            return (
                f"as bytes came {', '.join(sorted(as_bytes)) or 'none'} instead of {', '.join(expect.binary) or 'none'}"
            )
    return None

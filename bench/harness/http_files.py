"""HTTP load with files that differ, by a small Go program of this repository, bench/tools/httpload, which keeps every answer.

wrk would be the usual client; its script cannot tell which request an answer belongs to. The answers are read and
compared once the clock has stopped, so the comparison takes nothing from the server. Called through `meter.py`.
"""

import base64
import json
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.harness import go_tools
from bench.harness.errors import NotThere
from bench.harness.launch import Dialect
from bench.harness.load import Load

MOST_CONNECTIONS = 256
"""Of an open loop: what is behind waits in the server's queue, not in the client."""


@dataclass(frozen=True)
class Target:
    """Where to post which bodies. `problem` says what is wrong with the answer to a body, or None."""

    url: str
    dialect: Dialect
    bodies: Sequence[bytes]
    problem: Callable[[int, Any], str | None]


def run(
    target: Target,
    folder: Path,
    seconds: float,
    *,
    connections: int = MOST_CONNECTIONS,
    rate: float = 0.0,
    keep: int = 1,
) -> Load:
    """A closed loop with so many connections, or an open one with so many requests a second. Of every `keep`-th answer
    the content is compared, of all the status.
    """
    bodies = folder / "bodies"
    bodies.mkdir(exist_ok=True)
    for number, body in enumerate(target.bodies):
        (bodies / f"{number:04}").write_bytes(body)
    answers = folder / "answers"
    command = [go_tools.built("httpload"), f"-url={target.url}", f"-files={bodies}", f"-answers={answers}"]
    command += [f"-connections={connections}", f"-rate={rate}", f"-duration={seconds}s", f"-keep={keep}"]
    command += [f"-header={name}: {value}" for name, value in target.dialect.headers.items()]
    done = subprocess.run(
        [str(word) for word in command],
        env=os.environ | {"GOMAXPROCS": "1", "GOGC": "400"},
        check=False,
        capture_output=True,
        text=True,
        timeout=seconds + 120,
    )
    if done.returncode != 0:
        raise NotThere(f"httpload gave no figures for {target.url}:\n{done.stderr[-1500:]}")
    found = json.loads(done.stdout)
    first_failed = found.pop("first_failed")
    problems = list(_problems(target, answers))
    wrong = [problem for problem in problems if problem]
    return Load(**found, checked=len(problems), wrong=len(wrong), first_wrong=(wrong or [first_failed])[0])


def _problems(target: Target, answers: Path) -> list[str | None]:
    """One for each kept answer."""
    found = []
    for line in answers.read_text().splitlines():
        number, encoded = line.split()
        answer = base64.b64decode(encoded)
        try:
            read = target.dialect.read(answer)
        except (ValueError, LookupError, TypeError) as error:
            found.append(f"file {number}: {type(error).__name__} {error} in {answer[:200]!r}")
        else:
            problem = target.problem(int(number), read)
            found.append(problem and f"file {number}: {problem}")
    return found

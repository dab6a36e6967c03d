"""How a benchmark begins and ends as a command: what went wrong is one line on stderr and an exit status."""

import signal
import sys
from collections.abc import Callable

from bench.harness import interrupt
from bench.harness.errors import BenchError


def status(name: str, run: Callable[[list[str]], int]) -> int:
    """The process's exit status, once `run` has had its arguments."""
    interrupt.install()
    try:
        return run(sys.argv[1:])
    except BenchError as error:
        print(f"{name}: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"{name}: stopped", file=sys.stderr)
        return 128 + signal.SIGINT

"""The console script `moor`: what every command of `app.py` has in common at its end."""

import os
import sys
from typing import TextIO

INTERRUPTED = 130
"""As shells have it: 128 and the number of SIGINT."""


def main() -> None:
    """Every mistake of the user's is one message and exit code 2 or 3, never a traceback."""
    try:
        _run()
    except KeyboardInterrupt:  # also while the imports below take their time
        sys.exit(INTERRUPTED)


def _run() -> None:
    from moorage.api import ExitCode

    _have_outputs()
    code = _command()
    try:
        sys.stdout.flush()  # here, where what goes wrong is still told
    except BrokenPipeError:
        _let_go_of(sys.stdout)
    except OSError as error:
        _tell(error)
        code = code or ExitCode.UNAVAILABLE
    sys.exit(code)


def _command() -> int | str | None:
    from moorage.api import ExitCode
    from moorage.cli.app import app
    from moorage.cli.errors import UserError

    try:
        app(standalone_mode=True)
    except SystemExit as end:
        return end.code
    except UserError as error:
        if str(error):
            _say(str(error))
        return error.code
    except BrokenPipeError:
        _let_go_of(sys.stdout)
    except OSError as error:  # a full disk, a file that may not be written, too many open files
        _tell(error)
        return ExitCode.UNAVAILABLE
    return ExitCode.OK


def _have_outputs() -> None:
    """Who called us may have closed them: what is said then goes nowhere, and no file or socket, of ours or of a child's, takes
    their numbers."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, "w"))


def _tell(error: OSError) -> None:
    _let_go_of(sys.stdout)
    _say(f"{error.filename or 'the output'}: {error.strerror or error}")


def _say(message: str) -> None:
    """The exit code counts also where nobody hears the message."""
    try:
        sys.stderr.write(f"moor: {message}\n")
        sys.stderr.flush()
    except OSError:
        _let_go_of(sys.stderr)


def _let_go_of(output: TextIO) -> None:
    """What is left in its buffer has nowhere to go, and Python would complain of that at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), output.fileno())

"""The console script `moor`: what every command of `app.py` has in common at its end."""

import os
import sys

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
    from moorage.cli.app import app
    from moorage.cli.files import UserError

    try:
        try:
            app(standalone_mode=True)
        finally:
            sys.stdout.flush()  # here, where what goes wrong is still told
    except UserError as error:
        if str(error):
            sys.stderr.write(f"moor: {error}\n")
        sys.exit(error.code)
    except BrokenPipeError:
        _let_go_of_stdout()
        sys.exit(ExitCode.OK)
    except OSError as error:  # a full disk, a file that may not be written, too many open files
        _let_go_of_stdout()
        sys.stderr.write(f"moor: {error.filename or 'the output'}: {error.strerror or error}\n")
        sys.exit(ExitCode.UNAVAILABLE)


def _let_go_of_stdout() -> None:
    """What is left in its buffer has nowhere to go, and Python would complain of that at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

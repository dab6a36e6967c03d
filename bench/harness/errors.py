"""What can go wrong in a way that a person can mend. Raised everywhere in the bench; `__main__` turns it into a line
on stderr and an exit status of `moorage.api.exit_codes`.
"""

# ruff: noqa: N818 - named as the predictor names its own

from moorage.api.exit_codes import ExitCode


class BenchError(Exception):
    """The root: one message for people, and the exit status."""

    exit_code = ExitCode.INTERNAL


class BadInput(BenchError):
    """Options or a committed file that cannot work."""

    exit_code = ExitCode.INVALID_INPUT


class NotThere(BenchError):
    """A program, a port or a server that the bench needs is not there; the message says what to do."""

    exit_code = ExitCode.UNAVAILABLE


class WrongAnswer(BenchError):
    """A server answered something else than the model computes. Its figures would mean nothing."""

"""What the exit status of `moor` and of the predictor means. It is API: scripts and pods rely on it.

Kubernetes shows the predictor's code in `lastState.terminated.exitCode`, from where the controller reads it.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit status of every Moorage process; `meaning` says what each stands for."""

    meaning: str

    OK = 0, "It did what was asked; also after Ctrl-C, SIGTERM or SIGHUP, once everything in flight was answered."
    INTERNAL = (
        1,
        "A defect of Moorage itself: the log has the traceback, please report it. Of the predictor also: a model hung. Of "
        "`moor conformance`: a case failed. Of `moor explain`: the model is not ready. "
        "Of `moor diff`: something would change.",
    )
    INVALID_INPUT = 2, "What was given cannot work: options, the YAML file, a missing or corrupt weight file."
    UNAVAILABLE = 3, "Something needed is not there: a port is taken, a cluster or a model store does not answer."
    UNFINISHED = (
        4,
        "It was told to stop, and the grace period ended before all that was in flight was answered: the rest got 503.",
    )

    def __new__(cls, code: int, meaning: str = "") -> "ExitCode":
        """A member is its number; the meaning rides along."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

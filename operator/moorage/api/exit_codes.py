"""What the exit status of `moor` and of the predictor means. It is API: scripts and pods rely on it.

Kubernetes shows the predictor's code in `lastState.terminated.exitCode`, from where the controller reads it.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit status of every Moorage process."""

    OK = 0
    """It did what was asked; also after Ctrl-C or SIGTERM, once everything in flight was answered."""

    INTERNAL = 1
    """A defect of Moorage itself. The log has the traceback; please report it."""

    INVALID_INPUT = 2
    """What the user gave cannot work: options, the YAML file, a missing or corrupt weight file. Nothing was changed."""

    UNAVAILABLE = 3
    """Something that is needed is not there: a port that is taken, a cluster or a model store that does not answer."""

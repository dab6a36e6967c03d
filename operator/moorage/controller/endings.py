"""How a container ended, in words: what it said last, and what its exit code means. Called by `pods.py`. Pure."""

import signal

MOST = 1000
"""Characters of a container's last words that a condition has room for."""
_TRACEBACK = "Traceback (most recent call last)"
_LINES = 3


def last_words(message: object) -> str:
    """One line of what a container left behind.

    Ours leaves one sentence. Of others Kubernetes keeps the end of the log, and the cause stands last there: of a
    Python traceback its last line is taken, of other logs the last three.
    """
    lines = [" ".join(line.split()) for line in str(message).splitlines() if line.strip()]
    if _TRACEBACK in str(message):
        return lines[-1][:MOST]
    if len(lines) > _LINES:
        lines = lines[-_LINES:]
    return " ".join(lines)[:MOST]


def meaning(code: int) -> str:
    """What an exit code says by itself: the signal that ended the process, or nothing."""
    if code <= 128:
        return ""
    try:
        name = signal.Signals(code - 128).name
    except ValueError:
        return ""
    return _SIGNALS.get(name, name)


_SIGNALS = {
    "SIGKILL": "SIGKILL, as after a failed liveness or startup probe, or for want of memory",
    "SIGSEGV": "SIGSEGV, a crash of native code",
    "SIGABRT": "SIGABRT, native code has given up",
    "SIGTERM": "SIGTERM, it was told to stop",
    "SIGILL": "SIGILL, the processor does not know an instruction",
}

"""How a process of ours starts another one in this same Python: `moor` its predictor, the predictor its workers and helpers."""

import sys


def python(*arguments: str) -> list[str]:
    """The command line of `python ARGUMENTS`.

    With -P, so that the current folder is no place of modules: a file `torch.py` or `json.py` that lies there would otherwise be
    imported, and run, in the place of the real one.
    """
    return [sys.executable, "-P", *arguments]

"""How long all of `moorage.api` takes to import in a fresh interpreter, beside an empty one, interleaved: `python bench/import_api.py`.

The contract is imported by everything, `moor --help` among it, so it must stay light.
"""

import os
import platform
import statistics
import subprocess
import sys
import time

RUNS = 15
PROGRAMS = {"empty": "pass", "api": "from moorage.api import *"}


def seconds(program: str) -> float:
    """Wall-clock seconds of one interpreter from start to exit, with its bytecode cached."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
    return time.perf_counter() - started


def main() -> None:
    """One warm-up round, then RUNS rounds of each, in turns."""
    taken: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for run in range(RUNS + 1):
        for name, program in PROGRAMS.items():
            value = seconds(program)
            if run:
                taken[name].append(value)
    empty, api = (statistics.median(taken[name]) for name in PROGRAMS)
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, median of {RUNS}")
    print(f"RESULT import_api_s={api - empty:.3f} interpreter_s={empty:.3f}")


if __name__ == "__main__":
    main()

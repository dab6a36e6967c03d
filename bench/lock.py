"""Lock what the bench installs: `.venv/bin/python bench/lock.py`, after a change of a requirements.in or of our torch.

Every bench/**/requirements.in becomes a requirements.lock beside it: exact versions with hashes, no index's address.
"""

import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parent
OPTIONS = ("--universal", "--python-version=3.11", "--generate-hashes", "--no-emit-index-url", "--quiet")


def main() -> None:
    uv = Path(sys.executable).with_name("uv")
    for source in sorted(BENCH.rglob("requirements.in")):
        print(source.relative_to(BENCH.parent))
        lock = source.with_suffix(".lock").relative_to(BENCH.parent)
        command = [uv, "pip", "compile", source.relative_to(BENCH.parent), *OPTIONS, "--output-file", lock]
        command += ["--custom-compile-command", "python bench/lock.py"]
        subprocess.run([str(word) for word in command], cwd=BENCH.parent, check=True)


if __name__ == "__main__":
    main()

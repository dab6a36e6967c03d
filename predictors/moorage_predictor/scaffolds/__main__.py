"""`python -m moorage_predictor.scaffolds KIND FOLDER`: train one kind into a folder. Started by `moor init` alone.

Standard output gets JSON lines, {"stage", "done", "total"} and at the end {"models": [...]}; libraries' words go to stderr.
"""

import json
import os
import sys
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from safetensors import SafetensorError

from moorage.api import ExitCode
from moorage_predictor import scaffolds
from moorage_predictor.orphans import die_with_parent


def main(argv: list[str]) -> None:
    """Train."""
    die_with_parent()
    kind, folder = argv
    with os.fdopen(os.dup(1), "w", buffering=1) as answer:
        os.dup2(2, 1)

        def report(stage: str, done: int, total: int) -> None:
            answer.write(json.dumps({"stage": stage, "done": done, "total": total}) + "\n")

        report("importing", 0, 0)
        write = import_module(f"{scaffolds.__name__}.{kind}").write
        try:
            models = write(Path(folder), report)
        except (OSError, SafetensorError) as error:  # a full disk above all; the folder itself is gone at our end
            sys.stderr.write(
                f"moor init {kind}: in {Path(folder).parent}: {getattr(error, 'strerror', None) or error}\n"
            )
            sys.exit(ExitCode.UNAVAILABLE)
        answer.write(json.dumps({"models": [asdict(model) for model in models]}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])

"""decode_vs_pillow: our JPEG path beside plain Pillow, measured by bench/decode.py in a process of its own."""

import re
import subprocess
from collections.abc import Callable

from bench.harness import environments, paths

SCRIPT = paths.BENCH / "decode.py"
FIGURE = "decode_vs_pillow"


def figure(tell: Callable[[str], None], *, quick: bool) -> dict[str, float]:
    """The figure of its RESULT line; nothing where it could not be measured."""
    if not SCRIPT.exists():
        return {}
    command = [str(paths.PRODUCT_PYTHON), str(SCRIPT), *(["--quick"] if quick else [])]
    done = subprocess.run(
        command, cwd=paths.ROOT, env=environments.variables(), check=False, capture_output=True, text=True
    )
    found = re.search(rf"^RESULT .*\b{FIGURE}=(\S+)", done.stdout, re.MULTILINE)
    if found is None:
        tell(f"bench/decode.py gave no {FIGURE}: {done.stderr.strip()[-500:]}")
        return {}
    return {FIGURE: float(found[1])}

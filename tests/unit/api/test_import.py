import subprocess
import sys

import pytest

HEAVY = ["torch", "kserve", "kubernetes", "kopf", "aiohttp", "numpy", "rich", "typer", "prometheus_client"]


@pytest.mark.timeout(30)  # a new interpreter
@pytest.mark.parametrize("module", ["moorage.api", "moorage.api.crd", "moorage.render"])
def test_the_contract_imports_nothing_heavy(module: str) -> None:
    script = f"import {module}, sys; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (result.stdout.strip(), result.stderr) == ("", "")

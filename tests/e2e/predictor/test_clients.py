"""Other projects' clients, unchanged, against a real predictor that echoes: Triton's four and KServe's two."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PATIENCE_S = 240


def failures(module, *arguments):
    """name -> traceback of each check that failed; nothing if all held."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.e2e.predictor.clients.{module}", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"check"')]
    assert len(lines) >= 5, done.stdout + done.stderr
    return "\n".join(f"{line['check']}\n{line['failed']}" for line in lines if line["failed"])


@pytest.mark.parametrize("kind", ["sync", "aio"])
def test_tritons_http_client_finds_everything_it_asks_for(identity, guarded, kind):
    addresses = [f"127.0.0.1:{one.settings.http_port}" for one in (identity, guarded)]
    assert not failures("triton_http", kind, *addresses)


@pytest.mark.parametrize("kind", ["sync", "aio"])
def test_tritons_grpc_client_finds_everything_it_asks_for(identity, guarded, kind):
    assert not failures("triton_grpc", kind, identity.grpc, guarded.grpc)


@pytest.mark.parametrize("kind", ["rest", "grpc"])
def test_kserves_clients_find_everything_they_ask_for(identity, kind):
    assert not failures("kserve_clients", kind, identity.url if kind == "rest" else identity.grpc)

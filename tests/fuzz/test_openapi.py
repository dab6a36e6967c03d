"""What the OpenAPI document allows, and what it does not, sent to a real server by schemathesis: never a 500, every answer
as the document says.
"""

import json
import subprocess
import sys

import psutil
import pytest
from tests.e2e.predictor.conftest import ROOT
from tests.fuzz.budget import SECONDS

DOCUMENT = ROOT / "docs" / "reference" / "predictor-openapi.json"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
)


@pytest.fixture
def document(tmp_path):
    """The document with the names of models that are there, and of some that are not."""
    whole = json.loads(DOCUMENT.read_text())
    for operations in whole["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                parameter["schema"] = {"enum": {"name": ["identity", "dogs"], "version": ["1", "2"]}[parameter["name"]]}
    file = tmp_path / "openapi.json"
    file.write_text(json.dumps(whole))
    return file


def test_the_server_keeps_to_its_openapi_document(fuzzed, document, tmp_path):
    process = psutil.Process(fuzzed.process.pid)

    def run(seconds, seed):
        done = subprocess.run(
            [
                sys.executable, "-m", "schemathesis.cli", "run", str(document), "--url", fuzzed.url, "--no-color",
                "--max-time", str(max(1, round(seconds))), "--checks", ",".join(CHECKS), "--seed", str(seed), "--max-examples=100000",
                "--phases=examples,coverage,fuzzing", "--warnings=off", "--generation-database=none",
                "--suppress-health-check=all",
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]

    run(SECONDS / 2, 1)
    before = process.memory_info().rss
    run(SECONDS / 2, 2)
    assert fuzzed.process.poll() is None
    assert process.memory_info().rss < before * 1.1
    assert "Traceback" not in fuzzed.stderr()

"""KServe's ModelServer against every case: what fails there is what docs/reference/kserve-sdk-conformance.md lists."""

from pathlib import Path

import pytest
from tests.e2e.conformance.kserve_report import PAGE, found, listed, of_this_page
from tests.e2e.conformance.servers import of_kserve


@pytest.mark.timeout(600)
def test_the_page_lists_what_kserves_own_server_answers_wrongly(tmp_path: Path) -> None:
    server = of_kserve(tmp_path)
    try:
        results = found(server.target)
    finally:
        server.close()
    assert listed(PAGE.read_text()) == of_this_page(results), (
        "python -m tests.e2e.conformance.kserve_report writes it anew"
    )

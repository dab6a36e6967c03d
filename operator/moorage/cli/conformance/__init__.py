"""`moor conformance`: does a server follow the Open Inference Protocol? The cases are data, in `cases/*.yaml`.

    cases/*.yaml -> catalog -> Case -> run (rendering, http or rpc, expectation) -> Result -> report

From pytest, one test a case:

    @pytest.mark.parametrize("case", cases(), ids=lambda case: case.id)
    def test_the_server_conforms(case, target):
        assert run_case(case, target).outcome in ("passed", "off")
"""

from moorage.cli.conformance.catalog import SECTIONS, cases
from moorage.cli.conformance.run import Result, run, run_case
from moorage.cli.conformance.target import Target
from moorage.cli.conformance.vocabulary import LEVELS, Case

__all__ = ["LEVELS", "SECTIONS", "Case", "Result", "Target", "cases", "run", "run_case"]

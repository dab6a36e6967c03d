"""`python -m moorage_predictor OPTIONS`: where the rendered argv and environment become `PredictorSettings`."""

import gc
import os
import sys
from typing import Final

from pydantic import ValidationError

from moorage.api.exit_codes import ExitCode
from moorage.api.option_errors import problems
from moorage.api.predictor import PredictorSettings
from moorage_predictor import log

_GC_THRESHOLD: Final = (50_000, 20, 100)
"""Until the model is loaded. Imports make objects that stay: to look for garbage among them 400 times, as Python's default
does while torch is imported, takes a tenth of its time. `runtime` sets what is right for requests."""


def main() -> int:
    """The process's exit code; see `moorage.api.exit_codes`."""
    gc.set_threshold(*_GC_THRESHOLD)
    try:
        settings = PredictorSettings.parse(sys.argv[1:], os.environ)
    except ValidationError as error:
        for problem in problems(error):
            log.failure(problem, os.environ.get("MOORAGE_TERMINATION_LOG"))
        return ExitCode.INVALID_INPUT
    # kserve parses sys.argv when a model imports it.
    sys.argv = sys.argv[:1]
    from moorage_predictor import runtime

    code = runtime.run(settings)
    # Without the interpreter's finalisation: a daemon thread in the middle of importing torch would crash in it.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main())

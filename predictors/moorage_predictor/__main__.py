"""`python -m moorage_predictor OPTIONS`: where the rendered argv and environment become `PredictorSettings`."""

import os
import sys

from pydantic import ValidationError

from moorage.api.exit_codes import ExitCode
from moorage.api.predictor import PredictorSettings
from moorage_predictor import log


def main() -> int:
    """The process's exit code; see `moorage.api.exit_codes`."""
    try:
        settings = PredictorSettings.parse(sys.argv[1:], os.environ)
    except ValidationError as error:
        for problem in error.errors():
            option = "".join(f"--{str(part).replace('_', '-')}: " for part in problem["loc"][:1])
            log.failure(
                option + problem["msg"].removeprefix("Value error, "), os.environ.get("MOORAGE_TERMINATION_LOG")
            )
        return ExitCode.INVALID_INPUT
    # kserve parses sys.argv when it is imported.
    sys.argv = sys.argv[:1]
    from moorage_predictor import runtime

    code = runtime.run(settings)
    # Without the interpreter's finalisation: a daemon thread in the middle of importing torch would crash in it.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main())

"""What every command raises for a mistake of the user's; `main.py` tells it."""

from moorage.api import ExitCode


class UserError(Exception):
    """A mistake of the user's. `moor` prints the message, no traceback, and ends with `code`."""

    def __init__(self, message: str, code: ExitCode = ExitCode.INVALID_INPUT) -> None:
        self.code = code
        super().__init__(message)

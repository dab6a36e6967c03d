"""Every error that the predictor raises on purpose. Raised in storage, engine and tasks; translated once per edge:
`wire/http.py` to a status and `{"error": text}`, `wire/grpc.py` to a status code, `runtime.py` to an exit code.

    MoorageError
    ├── StartError             the process ends, with one line on stderr
    │   ├── LoadFailed             exit 2: what the user gave cannot work
    │   ├── StoreUnavailable       exit 3: the model store does not answer
    │   └── PortTaken              exit 3: somebody else listens there
    └── RequestError           the request ends, the server lives on
        ├── InvalidInput           400 / INVALID_ARGUMENT
        │   └── ImageInvalid           the image itself
        ├── PayloadTooLarge        413 / INVALID_ARGUMENT
        └── ModelUnavailable       503 / UNAVAILABLE; trying again helps
"""

# ruff: noqa: N818 - named as the KServe SDK names its own

from moorage.api.exit_codes import ExitCode


class MoorageError(Exception):
    """The root. `str(error)` is one line for people: what was expected, what was found, which object."""

    retryable = False


class StartError(MoorageError):
    """The model cannot be served at all."""

    exit_code = ExitCode.INVALID_INPUT


class LoadFailed(StartError):
    """A missing, corrupt, forbidden or unsuitable model."""

    def __init__(self, where: object, reason: str) -> None:
        super().__init__(f"{where}: {reason}")
        self.reason = reason


class StoreUnavailable(StartError):
    """The store that should hold the model does not answer."""

    exit_code = ExitCode.UNAVAILABLE
    retryable = True


class PortTaken(StartError):
    """An address that cannot be bound."""

    exit_code = ExitCode.UNAVAILABLE
    retryable = True


class RequestError(MoorageError):
    """One request cannot be answered."""

    status = 500


class InvalidInput(RequestError):
    """The client's mistake; the message names the input and the reason."""

    status = 400


class ImageInvalid(InvalidInput):
    """Bytes that are not an image this server decodes."""


class PayloadTooLarge(RequestError):
    """More bytes than the limit."""

    status = 413


class ModelUnavailable(RequestError):
    """The model is loading, the server is stopping, or too many requests wait."""

    status = 503
    retryable = True

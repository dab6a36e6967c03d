"""Every error that the predictor raises on purpose. Raised in storage, engine, tasks and wire; translated once per edge:
`wire/http/answers.py` to a status and `{"error": text, "code": code}`, `wire/grpc.py` to a status code, `runtime.py` to
an exit code.

    MoorageError
    ├── StartError             the process ends, with one line on stderr
    │   ├── LoadFailed             exit 2: what the user gave cannot work
    │   ├── StoreUnavailable       exit 3: the model store does not answer
    │   ├── TlsUnusable            exit 2: a certificate, key or authority that cannot be used
    │   ├── EngineUntried          exit 3: a machine without the room or the rights to build an engine
    │   ├── PortTaken              exit 3: somebody else listens there
    │   └── ModelHangs             exit 1: a model has answered nothing for too long
    └── RequestError           the request ends, the server lives on
        ├── InvalidInput           400 / INVALID_ARGUMENT
        │   └── ImageInvalid           the image itself
        ├── ControlDisabled        403 / PERMISSION_DENIED
        ├── NotFound               404 / NOT_FOUND
        ├── MethodNotAllowed       405
        ├── BodyTimeout            408 / DEADLINE_EXCEEDED
        ├── PayloadTooLarge        413 / RESOURCE_EXHAUSTED
        ├── UnsupportedEncoding    415 / INVALID_ARGUMENT
        ├── HeadersTooLarge        431
        ├── ModelFault             500 / INTERNAL: the model's own code failed
        ├── Unsupported            501 / UNIMPLEMENTED
        ├── ModelUnavailable       503 / UNAVAILABLE; trying again helps
        │   ├── ModelLoadFailed        it could not be loaded
        │   └── Overloaded             too many requests wait, or there is no room for another model
        └── DeadlineExceeded       504 / DEADLINE_EXCEEDED
"""

# ruff: noqa: N818 - named as the KServe SDK names its own

import re
from collections.abc import Iterable
from typing import Final

from moorage.api.exit_codes import ExitCode

_ABSOLUTE_PATH: Final = re.compile(r"(?<![\w.])/[\w./-]+")


def without_paths(text: str) -> str:
    """For callers, who need not know where files are."""
    return _ABSOLUTE_PATH.sub("…", text)


class MoorageError(Exception):
    """The root. `str(error)` is one line for people: what was expected, what was found, which object."""

    retryable = False


class StartError(MoorageError):
    """The model cannot be served at all."""

    exit_code = ExitCode.INVALID_INPUT


class LoadFailed(StartError):
    """A missing, corrupt, forbidden or unsuitable model. The message is for those who run the server; `told`, if it is
    set, for those who call it."""

    def __init__(self, where: object, reason: str, told: str | None = None) -> None:
        super().__init__(f"{where}: {reason}")
        self.reason = reason
        self.told = told


class TlsUnusable(StartError):
    """A missing, damaged or mismatched certificate, key or authority."""


class StoreUnavailable(StartError):
    """The store that should hold the model does not answer."""

    exit_code = ExitCode.UNAVAILABLE
    retryable = True


class EngineUntried(StartError):
    """`moor optimize` found no room, or not the rights, to build an engine; what it would choose is not final."""

    exit_code = ExitCode.UNAVAILABLE
    retryable = True


class PortTaken(StartError):
    """An address that cannot be bound."""

    exit_code = ExitCode.UNAVAILABLE
    retryable = True


class ModelHangs(StartError):
    """A model has answered nothing for too long; the process cannot take it back, only end."""

    exit_code = ExitCode.INTERNAL
    retryable = True


class RequestError(MoorageError):
    """One request cannot be answered. `status` is HTTP's, `code` stands in the body, `grpc` is the status' name."""

    status = 500
    code = "INTERNAL"
    grpc = "INTERNAL"


class InvalidInput(RequestError):
    """The client's mistake; the message names the input and the reason."""

    status = 400
    code = grpc = "INVALID_ARGUMENT"


class ImageInvalid(InvalidInput):
    """Bytes that are not an image this server decodes."""

    code = "INVALID_IMAGE"


class ControlDisabled(RequestError):
    """Loading, unloading and changing settings through the API are off."""

    status = 403
    code = grpc = "PERMISSION_DENIED"

    def __init__(self) -> None:
        super().__init__("changing models and settings is off: start the predictor with --control-endpoints=true")


class NotFound(RequestError):
    """No such path, model or version."""

    status = 404
    code = grpc = "NOT_FOUND"


class MethodNotAllowed(RequestError):
    """The path exists, with other methods."""

    status = 405
    code = "METHOD_NOT_ALLOWED"

    def __init__(self, path: str, allowed: Iterable[str]) -> None:
        methods = list(dict.fromkeys(allowed))
        super().__init__(f"{path}: expected {' or '.join(methods)}")
        self.allowed = ", ".join(methods)


class BodyTimeout(RequestError):
    """The body did not come in time."""

    status = 408
    code = grpc = "DEADLINE_EXCEEDED"


class PayloadTooLarge(RequestError):
    """More bytes than the limit."""

    status = 413
    code = grpc = "RESOURCE_EXHAUSTED"


class UnsupportedEncoding(RequestError):
    """A Content-Encoding that is not undone here."""

    status = 415
    code = "UNSUPPORTED_ENCODING"
    grpc = "INVALID_ARGUMENT"


class HeadersTooLarge(RequestError):
    """More header lines, or more bytes of them, than the limit."""

    status = 431
    code = "HEADERS_TOO_LARGE"
    grpc = "RESOURCE_EXHAUSTED"


class ModelFault(RequestError):
    """The model's own code failed, or its answer cannot be sent. Callers learn that, the log has the rest."""


class Unsupported(RequestError):
    """The model does not do this."""

    status = 501
    code = grpc = "UNIMPLEMENTED"


class ModelUnavailable(RequestError):
    """The model is loading, has failed to load, or the server is stopping."""

    status = 503
    code = "MODEL_NOT_READY"
    grpc = "UNAVAILABLE"
    retryable = True


class ModelLoadFailed(ModelUnavailable):
    """The model could not be loaded; what was served before, if anything, still is."""

    code = "MODEL_LOAD_FAILED"


class Overloaded(ModelUnavailable):
    """As many requests wait as may, or memory is full of models that are in use."""

    code = "SERVER_OVERLOADED"

    def __init__(self, text: str, retry_after_s: int = 1) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class DeadlineExceeded(RequestError):
    """The caller's own deadline passed before there was an answer."""

    status = 504
    code = grpc = "DEADLINE_EXCEEDED"

    def __init__(self) -> None:
        super().__init__("the deadline passed before the model answered")

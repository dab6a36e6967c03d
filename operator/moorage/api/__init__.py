"""The contract: the resource, the predictor's settings, conditions, metrics, exit codes. Nothing heavy is imported here.

A name is imported from its module when it is first asked for: the predictor needs the settings and not the resource, whose
models take a quarter of a second to make.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from moorage.api.exit_codes import ExitCode
    from moorage.api.messages import Cause, InvalidDeploymentError, check
    from moorage.api.predictor import LoadProgress, PredictorSettings
    from moorage.api.v1alpha1 import ModelDeployment

_MODULES: Final = {
    "Cause": "messages",
    "ExitCode": "exit_codes",
    "InvalidDeploymentError": "messages",
    "LoadProgress": "predictor",
    "ModelDeployment": "v1alpha1",
    "PredictorSettings": "predictor",
    "check": "messages",
}

__all__ = [
    "Cause",
    "ExitCode",
    "InvalidDeploymentError",
    "LoadProgress",
    "ModelDeployment",
    "PredictorSettings",
    "check",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    found: object = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = found
    return found

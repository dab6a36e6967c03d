"""The contract: the resource, the predictor's settings, conditions, metrics, exit codes. Nothing heavy is imported here."""

from moorage.api.exit_codes import ExitCode
from moorage.api.messages import Cause, InvalidDeploymentError, check
from moorage.api.predictor import LoadProgress, PredictorSettings
from moorage.api.v1alpha1 import ModelDeployment

__all__ = [
    "Cause",
    "ExitCode",
    "InvalidDeploymentError",
    "LoadProgress",
    "ModelDeployment",
    "PredictorSettings",
    "check",
]

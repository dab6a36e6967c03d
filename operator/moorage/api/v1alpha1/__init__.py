"""`moorage.dev/v1alpha1`: the resource as pydantic models."""

from moorage.api.v1alpha1.resource import (
    API_VERSION,
    GROUP,
    KIND,
    MAX_NAME_LENGTH,
    PLURAL,
    VERSION,
    Condition,
    Metadata,
    ModelDeployment,
    Spec,
    Status,
)
from moorage.api.v1alpha1.scaling import Scaling
from moorage.api.v1alpha1.section import RULE_ERROR, NotYetSupported, Rule, Section

__all__ = [
    "API_VERSION",
    "GROUP",
    "KIND",
    "MAX_NAME_LENGTH",
    "PLURAL",
    "RULE_ERROR",
    "VERSION",
    "Condition",
    "Metadata",
    "ModelDeployment",
    "NotYetSupported",
    "Rule",
    "Scaling",
    "Section",
    "Spec",
    "Status",
]

"""Whether a valid spec may be acted on. Judged before anything is rendered, by the operator and by `moor` alike."""

from dataclasses import dataclass

from moorage.api.conditions import NOT_YET_SUPPORTED, STORAGE_URI_FORBIDDEN, Reason
from moorage.api.support import not_yet_supported
from moorage.api.v1alpha1 import ModelDeployment
from moorage.render.storage import forbidden


@dataclass(frozen=True)
class Refusal:
    """Why nothing is done for a spec; becomes the condition Accepted=False."""

    reason: Reason
    message: str


def refusal(deployment: ModelDeployment, *, local: bool = False) -> Refusal | None:
    """The reason not to act on a deployment, or None.

    Args:
        deployment: a valid deployment.
        local: on a laptop, where file:// is the user's own and the predictor checks addresses itself.
    """
    if unsupported := not_yet_supported(deployment):
        return Refusal(NOT_YET_SUPPORTED, "; ".join(unsupported))
    uri = deployment.spec.model.storage_uri
    if uri is not None and not local and (why := forbidden(uri)):
        return Refusal(STORAGE_URI_FORBIDDEN, f"spec.model.storageUri: {why}")
    return None

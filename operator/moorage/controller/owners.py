"""Whose an object is. Pure; the operator asks it before each write, and `moor diff` before it says what would be written."""

from typing import Any

from moorage.api.conditions import CONFLICT, REPLACING
from moorage.api.v1alpha1 import GROUP, KIND
from moorage.render import Refusal

Body = dict[str, Any]


def is_owned(body: Body, owner_uid: str) -> bool:
    """Whether it belongs to the ModelDeployment with that uid."""
    return any(owner.get("uid") == owner_uid for owner in body["metadata"].get("ownerReferences", []))


def stranger(body: Body, owner_uid: str) -> Refusal | None:
    """Why an object of a child's name is not to be written, or None if it is the ModelDeployment's own."""
    if is_owned(body, owner_uid):
        return None
    what, owners = f"{body['kind']} {body['metadata']['name']}", body["metadata"].get("ownerReferences", [])
    if any(owner.get("kind") == KIND and owner.get("apiVersion", "").startswith(f"{GROUP}/") for owner in owners):
        return Refusal(REPLACING, f"{what} belongs to a deleted ModelDeployment of the same name and is being removed")
    return Refusal(
        CONFLICT,
        f"{what} exists and does not belong to this ModelDeployment: rename the ModelDeployment or remove that {body['kind']}",
    )

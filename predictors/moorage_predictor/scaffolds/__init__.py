"""Small models of small real data, trained in seconds: what `moor init KIND` puts into a folder, and what tests serve.

    moor init KIND FOLDER (moorage.cli.init) -> python -m moorage_predictor.scaffolds KIND FOLDER -> <KIND>.py: write(folder, report)

They lie here because training needs torch and the tasks' own preparation of inputs, and the command line imports neither. No
module of the server imports them. Each KIND is a module with a function `write`, and a row in `moorage/cli/init/kinds.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Report = Callable[[str, int, int], None]
"""`(stage, done, total)`: the words that people read, such as "training", and how far it is; a total of 0 is unknown."""


@dataclass(frozen=True)
class Model:
    """One model that `write` has left in `folder / name`; the command line writes the ModelDeployment `name`.yaml beside."""

    name: str
    task: str
    weights: str
    """The file in the model's folder that the spec's sha256 is of."""
    measured: str
    """One line for people: how good it is, on what it was not trained on."""
    model: dict[str, Any] = field(default_factory=dict)
    """What else `spec.model` says, such as `architecture`; in the schema's words."""
    photo: str | None = None
    """For tasks that take images: a file to send first, relative to the folder."""
    inside: bool = False
    """Whether commands are called in the folder: a class of the user's is imported from there."""
    then: tuple[str, ...] = ()
    """What else may be called there, before it is served."""

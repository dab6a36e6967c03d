"""Model repositories of tiny classifiers that say in their class names which version they are."""

import json
import shutil
from pathlib import Path

CLASSES = 10


class ModelFolders:
    """A `--model-repository`. Versions appear by being renamed into place."""

    def __init__(self, root: Path, weights: Path) -> None:
        self.root = root
        self._weights = weights

    def put(self, name: str, version: str) -> Path:
        """A whole version, at one moment."""
        folder = self.prepare(name, version)
        target = self.root / name / version
        target.parent.mkdir(exist_ok=True)
        return folder.rename(target)

    def prepare(self, name: str, version: str) -> Path:
        """The same where the server does not look."""
        folder = self.root / f".incoming-{name}-{version}"
        folder.mkdir()
        shutil.copy(self._weights, folder / "model.safetensors")
        labels = [f"{name}/{version}/{number}" for number in range(CLASSES)]
        config = {"architecture": "test_vit", "num_classes": CLASSES, "label_names": labels}
        (folder / "config.json").write_text(json.dumps(config))
        return folder


def version_of(names: list[str], model: str) -> str:
    """Which version answered with these class names; AssertionError if several did."""
    found = {name.rsplit("/", 1)[0] for name in names}
    assert len(found) == 1, f"a mixed answer: {names}"
    [one] = found
    assert one.startswith(f"{model}/"), one
    return one.removeprefix(f"{model}/")

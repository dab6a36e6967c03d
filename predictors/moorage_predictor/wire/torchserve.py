"""The image classifier whose network is in a TorchServe: the same, but ready only while that is. Made by `adapt.py`."""

from moorage.api.predictor import PredictorSettings
from moorage_predictor.tasks.torchserve.load import TorchServeClassifier
from moorage_predictor.wire.model import ClassifierModel


class TorchServeModel(ClassifierModel):
    """One."""

    def __init__(self, classifier: TorchServeClassifier, settings: PredictorSettings) -> None:
        self._process = classifier.process
        super().__init__(classifier, settings)

    @property
    def ready(self) -> bool:
        """Whether it answers now."""
        return self._ready and self._process.ready

    @ready.setter
    def ready(self, value: bool) -> None:
        self._ready = value

    def stop(self) -> None:
        """After the last request."""
        super().stop()
        self._process.stop()

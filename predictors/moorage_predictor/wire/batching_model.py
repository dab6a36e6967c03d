"""What all models have in common that make their batches themselves. Base of the models of `model`, `detection`, `tabular`, `hooked`."""

from collections.abc import Callable
from typing import Any

from moorage.api.predictor import PredictorSettings
from moorage_predictor.batching import Batcher, BatchLimits, Observe


def limits_of(settings: PredictorSettings, usual: int) -> BatchLimits:
    """As the settings say; `usual` is the size of a batch if they do not say one."""
    return BatchLimits(settings.max_batch_size or usual, settings.max_queue_size, settings.max_queue_delay_ms / 1000)


class BatchingModel:
    """One loaded model; see `pipeline.Model`. `predict`, and what it says of itself, is its subclass's."""

    never_blocks = True
    """Its hooks may run on the server's own event loop: what takes long is in threads."""
    fresh_outputs = True
    """No answer is written over by the next."""

    def __init__(self, settings: PredictorSettings, batcher: Batcher[Any], close: Callable[[], None]) -> None:
        """`close` is called after the last request. It should not hold the model: what is unloaded would wait for a collection."""
        self.name = settings.model_name
        self._batcher = batcher
        self._close = close
        self.ready = True

    def stop(self) -> None:
        """After the last request."""
        self.ready = False
        self._close()

    def observed_by(self, observe: Observe) -> None:
        """Tell of every batch."""
        self._batcher.observe = observe

    @property
    def waiting(self) -> int:
        """Rows that wait for the model."""
        return self._batcher.waiting

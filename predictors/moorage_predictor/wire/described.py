"""What a model says of itself, whichever kind it is. The part of `served.Served` that protocols read."""

from typing import Any


class Described:
    """Of one version, loaded or not; or of one model, for who must not see the next one's words."""

    def __init__(self, model: Any = None) -> None:
        self.model = model  # see `pipeline.Model`; a kserve.Model has no types

    @property
    def takes_bytes(self) -> bool:
        """Whether a V1 instance may hold bytes where JSON has base64; models of ours take them."""
        return bool(getattr(self.model, "takes_bytes", False))

    @property
    def fresh_outputs(self) -> bool:
        """Whether the model never writes over an answer that it has given; those of ours do not."""
        return bool(getattr(self.model, "fresh_outputs", False))

    def input_types(self) -> list[dict[str, Any]]:
        """As the model declares them; nothing before it is loaded."""
        return list(self.model.get_input_types()) if self.model is not None else []

    def output_types(self) -> list[dict[str, Any]]:
        """The same of its outputs."""
        return list(self.model.get_output_types()) if self.model is not None else []

    @property
    def runs_on(self) -> tuple[str, str]:
        """The engine and the number format of its forward passes; a class of the user's own decides for itself."""
        engine, precision = getattr(self.model, "runs_on", ("custom", "custom"))
        return engine, precision

    def parameters(self) -> dict[str, Any]:
        """How the model runs, as it says of itself; models of ours do."""
        give = getattr(self.model, "parameters", None)
        return give() if callable(give) else {}

    def labels(self, output: str) -> tuple[str, ...] | None:
        """Names of an output's classes, for the classification extension; models of ours have them."""
        give = getattr(self.model, "labels", None)
        return give(output) if callable(give) else None

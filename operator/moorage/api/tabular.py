"""The settings of task `tabular`: what is said of the features, which files are opened, and how answers are made."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class TabularSettings(BaseModel):
    """Without any of them the model's own words, and the files beside it, are all there is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: tuple[str, ...] = Field(
        default=(),
        description="Tabular: a column as NAME=TYPE[,min=N][,max=N][,enum=A|B][,default=V][,nullable][,unseen=default], in the "
        "model's order; TYPE is number, integer, boolean or string. In the place of schema.json's. May be given several times.",
    )
    class_name: tuple[str, ...] = Field(
        default=(), description="Tabular: the name of a class, in the model's order. May be given several times."
    )
    model_output: Literal["logits", "probabilities", "value"] | None = Field(
        default=None, description="Tabular: what a torch or ONNX model gives that does not say so itself."
    )
    trusted_type: tuple[str, ...] = Field(
        default=(),
        description="Tabular: a type that a skops file may hold beside those that skops itself trusts, such as "
        "sklearn.tree._tree.Tree. May be given several times.",
    )
    allow_unsafe_formats: bool = Field(
        default=False,
        description="Tabular: open pickle and joblib files too. They can run any code when they are opened.",
    )
    max_rows: int = Field(default=10_000, ge=1, le=1_000_000, description="Tabular: most rows of one request.")
    max_explained_rows: int = Field(
        default=100, ge=1, le=10_000, description="Tabular: most rows of one request that are explained."
    )
    explain_seed: int = Field(
        default=0, ge=0, le=2**31 - 1, description="Tabular: of explanations that are sampled: the same gives the same."
    )
    medium_confidence: float = Field(
        default=0.6,
        ge=0,
        le=1,
        description="Tabular: from this probability of the predicted class on the answer's confidence is called medium.",
    )
    high_confidence: float = Field(default=0.75, ge=0, le=1, description="Tabular: from this one on high.")

    @model_validator(mode="after")
    def _medium_is_below_high(self) -> Self:
        if self.medium_confidence > self.high_confidence:
            raise ValueError("expected --medium-confidence to be at most --high-confidence")
        return self

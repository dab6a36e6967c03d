"""Which task runs on which runtime: rules on `spec.model` and `spec.predictor` together."""

from moorage.api.v1alpha1.section import Rule

RUNTIME_RULES = (
    Rule(
        cel="self.model.task != 'custom' || has(self.model.class) || self.predictor.runtime == 'custom'",
        message="model.class is missing: name your class, for instance class: harbour.models:Tides",
        check=lambda s: s.model.task != "custom" or s.model.class_ is not None or s.predictor.runtime == "custom",
    ),
    Rule(
        cel="self.predictor.runtime != 'torchserve' || self.model.task == 'image-classification'",
        message="predictor.runtime torchserve is only known for task image-classification: use runtime torch",
        check=lambda s: s.predictor.runtime != "torchserve" or s.model.task == "image-classification",
    ),
    Rule(
        cel="!has(self.predictor.precision) || self.predictor.precision == 'fp32' || "
        "(self.model.task == 'image-classification' && self.predictor.runtime == 'torch')",
        message="predictor.precision is only known for task image-classification on runtime torch: remove precision",
        check=lambda s: (
            s.predictor.precision in (None, "fp32")
            or (s.model.task == "image-classification" and s.predictor.runtime == "torch")
        ),
    ),
    Rule(
        cel="!has(self.model.imageClassification) || !has(self.model.imageClassification.features) || "
        "!self.model.imageClassification.features || self.predictor.runtime != 'torchserve'",
        message="model.imageClassification.features is not known on runtime torchserve: remove features",
        check=lambda s: (
            s.model.image_classification is None
            or not s.model.image_classification.features
            or s.predictor.runtime != "torchserve"
        ),
    ),
)

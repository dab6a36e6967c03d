"""`spec.model.imageClassification`, `.objectDetection` and `.tabular`: what a task may be told, each under the task's own name.

`render/task_options.py` turns them into settings of the predictor. What is left out is as the predictor's settings have it.
"""

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from moorage.api.v1alpha1.section import Obeys, Rule, Section, matching

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Number = Annotated[float, Field(allow_inf_nan=False)]
_PLAIN = r"[^\x00-\x1f\x7f-\x9f]"
_EXPECTED = "characters without control characters such as line ends and tabs"
Word = Annotated[str, Field(max_length=64), matching(f"{_PLAIN}+", f"expected one or more {_EXPECTED}")]
Value = Annotated[
    Annotated[str, Field(max_length=64)] | int,
    Obeys(
        Rule(
            cel=f"type(self) == int || self.matches(r'^{_PLAIN}*$')",
            message=f"expected an integer or {_EXPECTED}",
            check=lambda value: isinstance(value, int) or re.fullmatch(f"{_PLAIN}*", value) is not None,
            of="",
        )
    ),
]
_MOST_VALUES = 1000
"""A column is one argument of the predictor's command line, of which Linux takes at most 128 KiB: 101 values of 64 characters of
4 bytes are 26 KB. All of the bounds below together stay under 600 KB, of the 2 MB that Linux takes for all arguments."""


class _Pictures(Section):
    """What all tasks that take pictures may be told."""

    max_image_bytes: int | None = Field(
        default=None, ge=1, le=2**31 - 1, description="Largest encoded image in bytes; 10 MiB without it."
    )
    max_image_side: int | None = Field(
        default=None, ge=1, le=65535, description="Largest width and largest height in pixels; 4096 without it."
    )


class ImageClassification(_Pictures):
    """For task image-classification."""

    top_k: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="How many classes an answer lists unless a request says other; 5 without it.",
    )
    confidence_threshold: Share | None = Field(
        default=None,
        description="Classes of less confidence are left out unless a request says other; 0, which leaves out none, without it.",
    )
    features: bool | None = Field(
        default=None,
        description="Whether requests may ask for features and attention. Without it they may where torch itself runs the network; "
        "true also keeps a copy of the network for it beside another engine.",
    )


class ObjectDetection(_Pictures):
    """For task object-detection."""

    confidence: Share | None = Field(
        default=None, description="Boxes with a lower score are left out unless a request says other; 0.25 without it."
    )
    iou: Share | None = Field(
        default=None,
        description="Of two boxes of a class that overlap by more than this the less sure one is left out, unless a request says "
        "other; 0.5 without it.",
    )
    max_detections: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="Most boxes of one picture unless a request says other; 100 without it.",
    )


def _of_type(kind: str, pattern: str, message: str) -> Rule:
    """What enum and default hold must be of the column's type, also where it is written in quotes."""
    compiled = re.compile(pattern)
    return Rule(
        cel=f"self.type != '{kind}' || ((!has(self.enum) || self.enum.all(v, string(v).matches(r'^({pattern})$'))) && "
        f"(!has(self.default) || string(self.default).matches(r'^({pattern})$')))",
        message=message,
        check=lambda c: (
            c.type != kind
            or all(compiled.fullmatch(str(v)) for v in (*(c.enum or ()), *(() if c.default is None else (c.default,))))
        ),
    )


class Column(Section):
    """One column of a table."""

    name: Annotated[str, Field(max_length=128), matching(f"{_PLAIN}+", f"expected one or more {_EXPECTED}")] = Field(
        description="The column's name in requests."
    )
    type: Literal["number", "integer", "boolean", "string"] = Field(
        default="number", description="What its values are."
    )
    min: Number | None = Field(default=None, description="Least value.")
    max: Number | None = Field(default=None, description="Greatest value.")
    enum: list[Value] | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="The only values there are; a longer list goes into schema.json. Fractions are written in quotes, such as '0.5'.",
    )
    default: Value | None = Field(
        default=None,
        description="Stands for a value that is missing. Fractions, true and false are written in quotes, such as '0.5'.",
    )
    nullable: bool | None = Field(
        default=None, description="Whether a value may be missing without a default; the model then gets none."
    )
    unseen: Literal["refuse", "default", "missing"] | None = Field(
        default=None, description="What becomes of a value that enum has not; refuse without it."
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(self.min) || !has(self.max) || self.min <= self.max",
            message="min is larger than max: lower min or raise max",
            check=lambda c: c.min is None or c.max is None or c.min <= c.max,
        ),
        Rule(
            cel="(!has(self.min) && !has(self.max)) || self.type == 'number' || self.type == 'integer'",
            message="min and max are only known for columns of type number and integer: remove them or change type",
            check=lambda c: (c.min is None and c.max is None) or c.type in ("number", "integer"),
        ),
        _of_type(
            "number",
            r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,2})?",
            "enum and default of a column of type number must be numbers, for instance 3 or '0.5': change them or type",
        ),
        _of_type(
            "integer",
            r"-?(0|[1-9][0-9]*)",
            "enum and default of a column of type integer must be integers: change them or type",
        ),
        _of_type(
            "boolean",
            "true|false|0|1",
            "enum and default of a column of type boolean must be 'true' or 'false', in quotes: change them or type",
        ),
        Rule(
            cel="!has(self.default) || !has(self.enum) || self.enum.exists(v, string(v) == string(self.default))",
            message="default is none of the values of enum, as they are written there: add it or change default",
            check=lambda c: c.default is None or c.enum is None or str(c.default) in map(str, c.enum),
        ),
        Rule(
            cel="!has(self.unseen) || self.unseen != 'default' || has(self.default)",
            message="unseen is default and there is no default: set default or change unseen",
            check=lambda c: c.unseen != "default" or c.default is not None,
        ),
        Rule(
            cel="!has(self.unseen) || self.unseen != 'missing' || (has(self.nullable) && self.nullable)",
            message="unseen is missing and the column is not nullable: set nullable: true or change unseen",
            check=lambda c: c.unseen != "missing" or c.nullable is True,
        ),
    )


MEDIUM_CONFIDENCE, HIGH_CONFIDENCE = 0.6, 0.75
"""The predictor's own, which hold where a spec is silent; a test compares."""


class Tabular(Section):
    """For task tabular."""

    columns: list[Column] | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="The columns in the model's order, in the place of those of schema.json or an MLflow signature; more of them go "
        "into schema.json.",
    )
    class_names: list[Word] | None = Field(
        default=None,
        min_length=2,
        max_length=200,
        description="Names of the classes, in the model's order; more of them go into schema.json.",
    )
    model_output: Literal["logits", "probabilities", "value"] | None = Field(
        default=None, description="What a torch or ONNX model gives that does not say so itself."
    )
    top_features: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="How many features an explanation lists first unless a request says other; 5 without it.",
    )
    explain_seed: int | None = Field(
        default=None,
        ge=0,
        le=2**31 - 1,
        description="Of explanations that are sampled: the same gives the same; 0 without it.",
    )
    max_rows: int | None = Field(
        default=None, ge=1, le=1_000_000, description="Most rows of one request; 10000 without it."
    )
    max_explained_rows: int | None = Field(
        default=None, ge=1, le=10_000, description="Most rows of one request that are explained; 100 without it."
    )
    medium_confidence: Share | None = Field(
        default=None,
        description="From this probability of the predicted class on the answer's confidence is called medium; 0.6 without it.",
    )
    high_confidence: Share | None = Field(default=None, description="From this one on high; 0.75 without it.")

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=f"(has(self.mediumConfidence) ? self.mediumConfidence : {MEDIUM_CONFIDENCE}) <= "
            f"(has(self.highConfidence) ? self.highConfidence : {HIGH_CONFIDENCE})",
            message=f"mediumConfidence ({MEDIUM_CONFIDENCE} if absent) is larger than highConfidence ({HIGH_CONFIDENCE} if absent): "
            "lower the first or raise the second",
            check=lambda t: (
                (MEDIUM_CONFIDENCE if t.medium_confidence is None else t.medium_confidence)
                <= (HIGH_CONFIDENCE if t.high_confidence is None else t.high_confidence)
            ),
        ),
        Rule(
            cel="!has(self.columns) || self.columns.all(a, self.columns.exists_one(b, a.name == b.name))",
            message="two columns have one name: rename or remove one",
            check=lambda t: t.columns is None or len({column.name for column in t.columns}) == len(t.columns),
        ),
        Rule(
            cel="!has(self.classNames) || self.classNames.all(a, self.classNames.exists_one(b, a == b))",
            message="classNames has a name twice: rename or remove one",
            check=lambda t: t.class_names is None or len(set(t.class_names)) == len(t.class_names),
        ),
        Rule(
            cel=f"!has(self.columns) || self.columns.map(c, has(c.enum) ? size(c.enum) : 0).sum() <= {_MOST_VALUES}",
            message=f"enum of all columns together has more than {_MOST_VALUES} values: move the columns into schema.json",
            check=lambda t: sum(len(column.enum or ()) for column in t.columns or ()) <= _MOST_VALUES,
        ),
    )


def _of_one_task(field: str, attribute: str, task: str) -> Rule:
    return Rule(
        cel=f"!has(self.{field}) || self.task == '{task}'",
        message=f"{field} is only known for task {task}: remove {field} or change task",
        check=lambda model: getattr(model, attribute) is None or model.task == task,
    )


TASK_RULES = (
    _of_one_task("imageClassification", "image_classification", "image-classification"),
    _of_one_task("objectDetection", "object_detection", "object-detection"),
    _of_one_task("tabular", "tabular", "tabular"),
)
"""On `spec.model`: no task is told what another may be."""

"""`spec.model`: which network, and where its files are."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from moorage.api.predictor import ARCHITECTURE_PATTERN, MODEL_NAME_PATTERN, SHA256_PATTERN
from moorage.api.v1alpha1.section import DnsName, Rule, Section, VersionLabel, matching
from moorage.api.v1alpha1.tasks import TASK_RULES, ImageClassification, ObjectDetection, Tabular

Task = Literal["image-classification", "object-detection", "tabular", "custom"]

# The characters leave no room for shell, template or header tricks: no $ ` ; " ' { } < > \ space or line break.
StorageUri = Annotated[
    str,
    Field(max_length=2048),
    matching(
        r"(pvc|s3|gs|https|hf|oci|pkg|file)://[A-Za-z0-9/][A-Za-z0-9._~:/@%+=,?&-]*",
        "expected s3://, gs://, pvc://, https://, hf://, oci:// or pkg:// and a path without spaces, quotes or $, "
        "for instance s3://BUCKET/PATH",
    ),
]

ModelName = Annotated[
    str,
    Field(max_length=63),
    matching(
        MODEL_NAME_PATTERN.strip("^$"),
        "expected at most 63 letters, digits, '.', '_' and '-', beginning with a letter or digit",
    ),
]
Architecture = Annotated[
    str,
    Field(max_length=104),
    matching(
        ARCHITECTURE_PATTERN.strip("^$"),
        "expected timm/NAME, torchvision/NAME or ultralytics/NAME, for instance timm/resnet18",
    ),
]
Sha256 = Annotated[
    str,
    Field(max_length=64),
    matching(SHA256_PATTERN.strip("^$"), "expected 64 lower-case hexadecimal digits, as sha256sum prints them"),
]

ClassName = Annotated[
    str,
    Field(max_length=253),
    matching(
        r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*",
        "expected MODULE:CLASS as Python imports it, for instance harbour.models:Tides",
    ),
]
"""The predictor itself also takes the path of a file; a pod has its files from its image."""

TrustedType = Annotated[
    str,
    Field(max_length=253),
    matching(
        r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*",
        "expected a type as Python names it, for instance sklearn.tree._tree.Tree",
    ),
]

RESERVED_NAMES = ("async", "batch")
"""Words of the gateway's own paths (`/predict/batch/...`), so no model may be called that."""


def _known(task: str, architecture: str) -> bool:
    """Whether the task has networks of that library."""
    return task == ("image-classification" if architecture.startswith("timm/") else "object-detection")


def _without_userinfo(uri: str) -> bool:
    return "@" not in uri.split("://", 1)[1].split("/", 1)[0]


class Model(Section):
    """The network and its files."""

    task: Task = Field(
        description="What the model does; decides how requests are decoded and answers are encoded. Immutable."
    )
    storage_uri: StorageUri | None = Field(
        default=None,
        description=(
            "Where the weights are: s3://BUCKET/PATH, gs://BUCKET/PATH, pvc://CLAIM/PATH, https://HOST/PATH, hf://ORG/REPOSITORY, "
            "oci://IMAGE, or pkg://PACKAGE/PATH for weights inside a Python package of the predictor image. "
            "file:///PATH works only with `moor up` and `moor serve`."
        ),
    )
    architecture: Architecture | None = Field(
        default=None,
        description="The network's architecture: `timm/NAME`, or for object-detection `torchvision/NAME` or `ultralytics/NAME`. "
        "Not needed where the weights come with a config.json that names it, nor for an exported model.",
    )
    class_: ClassName | None = Field(
        default=None,
        alias="class",
        description="For task custom: a class of yours as MODULE:CLASS. The predictor image holds its module; with `moor up` the "
        "current folder does.",
    )
    name: ModelName | None = Field(
        default=None,
        description="The model's name in every URL. Defaults to metadata.name.",
    )
    version: VersionLabel = Field(
        default="1",
        description="A label for this version of the weights; shown by kubectl, in metrics and in the V2 protocol.",
    )
    sha256: Sha256 | None = Field(
        default=None,
        description="SHA-256 of the weight file in lower-case hexadecimal; checked before the file is parsed.",
    )
    storage_secret: DnsName | None = Field(
        default=None,
        description="A Secret of this namespace with the store's credentials, in the form that KServe's storage initializer expects.",
    )
    allow_unsafe_formats: bool | None = Field(
        default=None,
        description="For task tabular: permits formats that can run code when they are opened (pickle, joblib). Off unless said; the "
        "condition UnsafeFormat then says so.",
    )
    trusted_types: list[TrustedType] | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="For task tabular: types that a skops file may hold beside those that skops itself trusts, for instance "
        "sklearn.tree._tree.Tree.",
    )
    image_classification: ImageClassification | None = Field(
        default=None, description="For task image-classification: what is answered and what is taken."
    )
    object_detection: ObjectDetection | None = Field(
        default=None, description="For task object-detection: what is answered and what is taken."
    )
    tabular: Tabular | None = Field(
        default=None, description="For task tabular: its columns and classes, what is answered and what is taken."
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="self.task == 'custom' || has(self.storageUri)",
            message="storageUri is missing: say where the weights are, for instance storageUri: s3://BUCKET/PATH",
            check=lambda m: m.task == "custom" or m.storage_uri is not None,
        ),
        Rule(
            cel="!has(self.architecture) || (self.task == 'image-classification' && self.architecture.startsWith('timm/')) || "
            "(self.task == 'object-detection' && !self.architecture.startsWith('timm/'))",
            message="architecture is only known for task image-classification, as timm/NAME, and object-detection, as "
            "torchvision/NAME or ultralytics/NAME: remove architecture or change task",
            check=lambda m: m.architecture is None or _known(m.task, m.architecture),
        ),
        Rule(
            cel="!has(self.class) || self.task == 'custom'",
            message="class is only known for task custom: remove class or change task",
            check=lambda m: m.class_ is None or m.task == "custom",
        ),
        Rule(
            cel="!has(self.trustedTypes) || self.task == 'tabular'",
            message="trustedTypes is only known for task tabular: remove trustedTypes or change task",
            check=lambda m: m.trusted_types is None or m.task == "tabular",
        ),
        Rule(
            cel="!has(self.allowUnsafeFormats) || !self.allowUnsafeFormats || self.task == 'tabular'",
            message="allowUnsafeFormats is only known for task tabular: remove allowUnsafeFormats or change task",
            check=lambda m: not m.allow_unsafe_formats or m.task == "tabular",
        ),
        *TASK_RULES,
        Rule(
            cel="!has(self.storageUri) || !self.storageUri.contains('..')",
            message="storageUri must not contain '..': write the path without parent folders",
            check=lambda m: m.storage_uri is None or ".." not in m.storage_uri,
        ),
        Rule(
            cel="!has(self.storageUri) || !self.storageUri.matches('^[a-z0-9]+://[^/]*@')",
            message="storageUri must not carry a user or password: put credentials into a Secret and name it in storageSecret",
            check=lambda m: m.storage_uri is None or _without_userinfo(m.storage_uri),
        ),
        Rule(
            cel="self.task == oldSelf.task",
            message="task cannot be changed: create a second ModelDeployment and delete this one",
            check=lambda new, old: new.task == old.task,
        ),
        Rule(
            cel="!has(self.name) || !(self.name in ['async', 'batch'])",
            message="name must not be async or batch, which are words of the gateway's paths: choose another name",
            check=lambda m: m.name not in RESERVED_NAMES,
        ),
    )

"""`spec.model`: which network, and where its files are."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from moorage.api.predictor import ARCHITECTURE_PATTERN, MODEL_NAME_PATTERN, SHA256_PATTERN
from moorage.api.v1alpha1.section import NOT_YET, DnsName, Rule, Section, VersionLabel, matching

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
    matching(ARCHITECTURE_PATTERN.strip("^$"), "expected timm/NAME, for instance timm/resnet18"),
]
Sha256 = Annotated[
    str,
    Field(max_length=64),
    matching(SHA256_PATTERN.strip("^$"), "expected 64 lower-case hexadecimal digits, as sha256sum prints them"),
]

RESERVED_NAMES = ("async", "batch")
"""Words of the gateway's own paths (`/predict/batch/...`), so no model may be called that."""


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
        description="The network's architecture, `timm/NAME`. Not needed where the weights come with a config.json that names it.",
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
    allow_unsafe_formats: Annotated[bool | None, NOT_YET] = Field(
        default=None,
        description="Permits formats that can run code when they are opened (pickle, joblib). Off unless said.",
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="self.task == 'custom' || has(self.storageUri)",
            message="storageUri is missing: say where the weights are, for instance storageUri: s3://BUCKET/PATH",
            check=lambda m: m.task == "custom" or m.storage_uri is not None,
        ),
        Rule(
            cel="!has(self.architecture) || self.task == 'image-classification'",
            message="architecture is only known for task image-classification: remove architecture or change task",
            check=lambda m: m.architecture is None or m.task == "image-classification",
        ),
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

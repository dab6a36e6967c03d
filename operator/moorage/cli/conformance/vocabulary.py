"""The words that a case is written in: what `cases/*.yaml` may say. `catalog.py` reads the files into these models.

    Case = id + says + level + reference, and what is sent: `request` (HTTP) or `call` (gRPC), and what is `expect`ed

Strings may hold {model}, {identity} and {version}, which the server under test fills in; a case that holds one is skipped
where it is not known. docs/how-to/check-a-server.md explains each word to somebody who adds a case.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Level = Literal["required", "extension", "strict"]
LEVELS: tuple[Level, ...] = ("required", "extension", "strict")
Datatype = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES"
]
CLOSED = "closed"
"""Instead of a status: the server closed the connection without an answer."""


class Word(BaseModel):
    """What all parts of a case share: a misspelt word is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Repeated(Word):
    """Text that is made, not written: `repeat` so many `times`, {n} being the number, with `between` between two."""

    repeat: str = Field(description="The text; {n} is its number, from 0.")
    times: int = Field(description="How often.")
    between: str = Field(default="", description="What stands between two.")


class Tensor(Word):
    """One tensor of a request. `data` is what goes into the JSON (or gRPC's typed contents); `binary` sends bytes instead."""

    name: Any = Field(default="x", description="Mostly text; anything, where a bad request is the point.")
    datatype: Any = Field(default="FP32", description="A datatype of the protocol, or a wrong one.")
    shape: Any = Field(default=None, description="Left out: one dimension, as long as `data`.")
    data: Any = Field(default=None, description="Nested or flat; an item of BYTES is text or {hex: …}.")
    hex: str | None = Field(default=None, description="The tensor's bytes as they are; with `binary`.")
    binary: bool = Field(default=False, description="After the JSON, or in gRPC's raw contents.")
    size: Any = Field(default=None, description="`binary_data_size`, where it is not the number of bytes.")
    parameters: dict[str, Any] | None = Field(default=None, description="Of this input.")
    without: tuple[str, ...] = Field(default=(), description="Fields left out of the request.")


class Output(Word):
    """One requested output."""

    name: Any = Field(default="x", description="As the answer shall name it.")
    parameters: dict[str, Any] | None = Field(default=None, description="Of this output, such as binary_data.")


class Infer(Word):
    """An inference request, for HTTP and gRPC alike."""

    id: Any = Field(default=None, description="Of the request; text, as a rule.")
    parameters: Any = Field(default=None, description="Of the request.")
    inputs: tuple[Tensor, ...] = Field(default=(), description="The tensors that are sent.")
    outputs: tuple[Output, ...] | None = Field(default=None, description="The outputs that are asked for.")
    from_metadata: bool = Field(
        default=False, description="The inputs that the model's metadata names, filled with zeros."
    )
    header_length: Any = Field(
        default=None, description="Inference-Header-Content-Length: `json` for the true one, or a wrong one."
    )
    trailing: str = Field(default="", description="Bytes, in hex, after the last tensor.")
    model_version: str | None = Field(default=None, description="gRPC only; in HTTP it is in the path.")


class Body(Word):
    """What an HTTP request carries: exactly one of these."""

    json_: Any = Field(default=None, alias="json", description="Any value, sent as JSON.")
    text: str | None = Field(default=None, description="These characters.")
    hex: str | None = Field(default=None, description="These bytes.")
    pieces: tuple[str | Repeated, ...] | None = Field(default=None, description="Text and repeated text, joined.")
    infer: Infer | None = Field(default=None, description="An inference request, in JSON and bytes.")
    raw_input: bool = Field(default=False, description="Only the bytes of the model's one input, without JSON.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError(
                f"expected one of json, text, hex, pieces, infer and raw_input, found {len(self.model_fields_set)}"
            )
        return self


class Step(Word):
    """One move of a hand-made conversation: `send` text, `hex` bytes or repeated text, then `wait_s`; in that order."""

    send: str = Field(default="", description="These characters; {host} is the server's.")
    hex: str = Field(default="", description="These bytes.")
    repeat: Repeated | None = Field(default=None, description="Repeated text.")
    every_s: float = Field(default=0, description="Seconds between two of `repeat`.")
    wait_s: float = Field(default=0, description="Seconds to wait for an answer.")
    end: bool = Field(default=False, description="Say that no more comes (half-close).")


class Request(Word):
    """One HTTP request."""

    method: str | None = Field(default=None, description="Left out: POST with a body, GET without.")
    path: str = Field(
        default="/v2/models/{identity}/infer", description="Left out: the inference of the identity model."
    )
    headers: dict[str, str] = Field(
        default={}, description="Beside those that the body needs; `absent` takes one away."
    )
    body: Body | None = Field(default=None, description="What it carries.")
    compress: Literal["gzip", "deflate"] | None = Field(default=None, description="The body goes out compressed.")
    inflate_to: int | None = Field(
        default=None, description="With `compress`: spaces are put in front up to so many bytes."
    )
    chunk_bytes: int | None = Field(default=None, description="Sent chunked, in pieces of so many bytes.")
    pad_to: int | None = Field(default=None, description="Spaces are put behind the body up to so many bytes.")
    steps: tuple[Step, ...] | None = Field(
        default=None, description="Instead of all the rest: what goes over the socket."
    )


class Call(Word):
    """One gRPC call. `message` has the fields of the request by name; of ModelInfer `infer` says more shortly the same."""

    method: str = Field(default="ModelInfer", description="Of the service.")
    message: dict[str, Any] = Field(
        default={}, description="The request's fields by name, as protobuf's JSON has them."
    )
    infer: Infer | None = Field(default=None, description="Instead of `message`: an inference request.")
    model: str = Field(default="{identity}", description="Of `infer`.")
    raw_contents: tuple[str, ...] | None = Field(
        default=None, description="raw_input_contents in hex, whatever the inputs say."
    )
    pad_to: int | None = Field(default=None, description="Instead of the inputs one of so many bytes.")
    copies: int | None = Field(default=None, description="Each input so many times, its name numbered.")
    compress: bool = Field(default=False, description="The message goes out in gzip.")


def _listed(value: Any) -> Any:
    return value if isinstance(value, (list, tuple)) else [value]


class Expect(Word):
    """What must come back. Everything that is said must hold."""

    status: Annotated[tuple[int | str, ...], BeforeValidator(_listed)] = Field(
        default=(), description="One or several of: a number, `4xx`, `closed`."
    )
    code: Annotated[tuple[str, ...], BeforeValidator(_listed)] = Field(
        default=(), description="gRPC: OK, INVALID_ARGUMENT, …; one or several."
    )
    then: tuple[tuple[int | str, ...], ...] | None = Field(
        default=None, description="With `steps`: the statuses of all further answers on the same connection."
    )
    answer: Any = Field(default=None, description="A matcher for the JSON, or for the reply's fields.")
    headers: dict[str, str] = Field(default={}, description="Header -> regular expression; `absent` for none.")
    echo: bool = Field(default=False, description="Each input (or requested output) comes back, bit for bit.")
    outputs: tuple[str, ...] | None = Field(default=None, description="The names of the outputs, in any order.")
    binary: tuple[str, ...] | None = Field(
        default=None, description="Which outputs come as bytes; the others must not."
    )
    tensors: tuple[Tensor, ...] = Field(default=(), description="Outputs, where they are not what was sent.")
    error: bool = Field(default=False, description='The body is {"error": TEXT}, and TEXT shows nothing of the inside.')
    says: str | None = Field(default=None, description="A regular expression for the error's text.")
    within_s: float = Field(default=30, description="Seconds until the answer or the close.")

    @model_validator(mode="after")
    def _something(self) -> Self:
        if bool(self.status) == bool(self.code):
            raise ValueError("expected `status` (HTTP) or `code` (gRPC)")
        return self


class Case(Word):
    """One required behaviour."""

    id: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", description="Small letters, digits and hyphens.")
    says: str = Field(min_length=10, description="One sentence: what a server must do.")
    level: Level = Field(
        description="`required`: the core. `extension`: a named one. `strict`: a good answer to a bad request."
    )
    reference: str = Field(min_length=3, description="Which part of which public protocol, by name.")
    section: str = Field(description="The file's name.")
    extension: str | None = Field(
        default=None, description="As in the server's own `extensions`; missing it is no failure."
    )
    probe: Request | None = Field(default=None, description="200 shows that a server has the extension all the same.")
    announced: bool = Field(default=False, description="Asked only of a server that announces the extension.")
    control: bool = Field(
        default=False, description="It changes the server: only with --control; refusing it clearly is no failure."
    )
    slow: bool = Field(default=False, description="Takes seconds or much memory: only with --slow.")
    before: Request | Call | None = Field(
        default=None, description="Sent first; its answer only matters if it refuses."
    )
    request: Request | None = Field(default=None, description="What is sent over HTTP.")
    call: Call | None = Field(default=None, description="What is sent over gRPC.")
    expect: Expect = Field(description="What must come back.")
    after: Request | Call | None = Field(default=None, description="Sent last, to put back what was changed.")
    lasting: bool = Field(default=True, description="Afterwards the server must still answer.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.request is None) == (self.call is None):
            raise ValueError("expected either `request` or `call`")
        if (self.call is None) == bool(self.expect.code):
            raise ValueError("expected `code` with `call`, and `status` with `request`")
        return self


class Section(Word):
    """One file: what its cases have in common, and the cases, not yet filled in (see `catalog.py`)."""

    title: str = Field(min_length=3, description="Of the section.")
    about: str = Field(min_length=10, description="One sentence.")
    level: Level = Field(default="required", description="Of its cases, unless one says another.")
    reference: str | None = Field(default=None, description="The same.")
    extension: str | None = Field(default=None, description="The same.")
    probe: Request | None = Field(default=None, description="The same.")
    announced: bool = Field(default=False, description="The same.")
    cases: tuple[dict[str, Any], ...] = Field(
        description="With `for_each`, a case stands for as many as the list is long."
    )


WORDS: tuple[type[Word], ...] = (Section, Case, Request, Body, Infer, Tensor, Output, Repeated, Step, Call, Expect)
"""From the file down to the smallest part: the order of the reference."""

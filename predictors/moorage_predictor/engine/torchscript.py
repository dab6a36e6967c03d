"""TorchScript archives, opened so that they can reach nothing but their own tensors. Called by the tasks that take such files.

TorchScript is a program, and some of its operators read and write files, while it is loaded as well as when it is called. So the
archive is written anew from the members that are known, torch gets the new one, and of the code every token is looked at:

| in the code                  | is let through if                                                                      |
|------------------------------|----------------------------------------------------------------------------------------|
| `torch.NAME`, `ops.aten.NAME`| no form of the operator takes text, which could name a file, or it is known what for   |
| `ops.torchvision.NAME`, ...  | the same                                                                               |
| `ops.prim.NAME`              | it is one of `_PRIMITIVES`                                                             |
| `torch`, `ops` alone         | never: they could get another name                                                     |
| `value.NAME`, `getattr`'s    | it is no operator that `torch.NAME` may not be                                         |
| classes of extensions        | never                                                                                  |
| another character or comment | never: it could end where torch sees no end                                            |
"""

import io
import re
import warnings
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from moorage_predictor.errors import LoadFailed

_CODE: Final = re.compile(r"code/__torch__(?:/[A-Za-z0-9_]+)*\.py")
_KEPT: Final = re.compile(
    r"(?:data|constants)(?:\.pkl|/[0-9]+)|version|byteorder|\.data/(?:version|serialization_id)"
    r"|\.format_version|\.storage_alignment"
)
_LEFT_OUT: Final = re.compile(
    r"code/.+\.debug_pkl|extra/.+|traced_inputs(?:\.pkl|/[0-9]+)|bytecode\.pkl|mobile_debug_handles\.pkl", re.DOTALL
)
"""What torch can do without: places in the source, files of the user's, what was traced with, the form for phones."""
_MOST_BYTES: Final = 4 << 30
_MOST_CODE: Final = 64 << 20
_EXTENSION: Final = re.compile(rb"torch[.\n]classes")

_TOKEN: Final = re.compile(
    r"""(?P<space>[ \n]+)|(?P<word>[A-Za-z_][A-Za-z0-9_]*)"""
    r"""|(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?j?(?![A-Za-z0-9_.]))"""
    r"""|(?P<text>"(?!"")(?:[^"\\\n]|\\.)*"|'(?!'')(?:[^'\\\n]|\\.)*')|(?P<sign>[-+*/%=<>!&|^~@.,:()\[\]{}])"""
)
_NAMESPACES: Final = frozenset(("aten", "prims", "quantized", "torchvision"))
_PRIMITIVES: Final = frozenset(
    re.findall(
        r"\w+",
        """
        abs data device dtype grad index itemsize layout max min name nbytes rangelist requires_grad shape tolist type
        is_cpu is_cuda is_meta is_mkldnn is_mps is_nested is_quantized is_sparse is_sparse_csr is_xla is_xpu
        unchecked_cast unchecked_unwrap_optional AutogradAdd AutogradZero BroadcastSizes ConstantChunk EnumName EnumValue
        IfThenElse ModuleContainerIndex NumToTensor RaiseException ReductionSizes StringIndex TupleIndex TupleUnpack
        Uninitialized VarConcat VarStack
        """,
    )
)
_TEXTS: Final = frozenset(
    re.findall(
        r"\w+",
        """
        Delete Float Int __contains__ __getitem__ _set_item add any capitalize center clear copy count device dict
        endswith eq expandtabs find format ge get gt index isalnum isalpha isdecimal isdigit isidentifier islower
        isnumeric isprintable isspace istitle isupper items join keys le len list ljust lower lstrip lt ne ord partition
        percentFormat pop popitem remove replace rfind rindex rjust rpartition rsplit rstrip setdefault slice sort sorted
        split splitlines startswith strip swapcase title update upper values warn zfill
        __interpolate __upsample _convolution_mode _assert_async _assert_scalar conv1d conv2d conv3d div div_ divide
        divide_ einsum fft_fft fft_fft2 fft_fftn fft_hfft fft_hfft2 fft_hfftn fft_ifft fft_ifft2 fft_ifftn fft_ihfft
        fft_ihfft2 fft_ihfftn fft_irfft fft_irfft2 fft_irfftn fft_rfft fft_rfft2 fft_rfftn gelu gelu_ get_autocast_dtype
        index_reduce index_reduce_ linalg_cond linalg_eigh linalg_eigvalsh linalg_lstsq linalg_matrix_norm linalg_norm
        linalg_qr linalg_svd linalg_svdvals meshgrid nanquantile pad pad_sequence quantile scatter scatter_
        scatter_reduce scatter_reduce_ searchsorted segment_reduce stft
        """,
    )
)
"""Operators on lists, dictionaries and texts themselves, and those whose text is a mode, a rounding, a norm or an equation."""
PRIVATE: Final = re.compile(
    r"__\w+|_(?:adaptive_avg_pool[23]d|add_relu_?|addmm_activation|aminmax|assert_(?:async|scalar|tensor_metadata)"
    r"|batch_norm_impl_index|cast_[A-Z][a-z]+|cdist_forward|convolution(?:_mode)?|conj|dim_arange|embedding_bag"
    r"|fft_(?:c2c|c2r|r2c)|fused_rms_norm|get_tracing_state|grad_sum_to_size|infer_size|is_all_true|is_any_true"
    r"|list_to_tensor|log_softmax|native_multi_head_attention"
    r"|nested_tensor_from_mask(?:_left_aligned)?|pack_padded_sequence|pack_sequence|pad_(?:circular|enum|packed_sequence)"
    r"|reshape_from_tensor|safe_softmax|scaled_dot_product_attention_math|scaled_dot_product_flash_attention_for_cpu"
    r"|set_item|shape_as_tensor|size_if_not_equal|softmax|stack|tensor_to_list|to_copy|transform_bias_rescale_qkv"
    r"|transformer_encoder_layer_fwd|trilinear|unique2?|unsafe_view|unwrap_optional|upsample_\w+)"
)
"""Operators that begin with _ check less than others; of these it is known who writes them. Also for exported programs."""
UNCHECKED: Final = re.compile(
    r"as_strided\w*|set_|\w+_backward\w*|(?:native|cudnn|miopen)_batch_norm\w*|batch_norm_[a-z]\w*|segment_reduce"
    r"|sparse_\w+_tensor|(?:fbgemm|mkldnn|miopen|cudnn)_\w+"
)
"""Others that read or write beyond their tensors where sizes, places or packed bytes are wrong, or view a tensor's memory anew."""
_REMOTE: Final = frozenset(("rpc_async", "rpc_sync", "rpc_remote"))


def load(file: Path, extra: dict[str, str] | None = None) -> Any:
    """The module, on the CPU, for inference; `extra` gets the user's files of its names, as of `torch.jit.load`.

    Raises:
        LoadFailed: it could reach beyond its tensors, or is damaged; the message says what.
    """
    import torch

    extra = {} if extra is None else extra
    try:
        archive = _written_anew(file, frozenset(extra))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # TorchScript is deprecated; people have files of it
            return torch.jit.load(archive, map_location="cpu", _extra_files=extra).eval()  # type: ignore[no-untyped-call]
    except LoadFailed:
        raise
    except Exception as error:
        raise LoadFailed(
            file, "not a TorchScript module that this torch can read: damaged, or of another version"
        ) from error


def _written_anew(file: Path, extra: frozenset[str]) -> io.BytesIO:
    made = io.BytesIO()
    seen: set[str] = set()
    code = 0
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(made, "w") as kept:
        members = [member for member in archive.infolist() if not member.is_dir()]
        if sum(member.file_size for member in members) > _MOST_BYTES:
            raise LoadFailed(file, f"expected at most {_MOST_BYTES} bytes")
        root = members[0].filename.partition("/")[0] if members else ""
        for member in members:
            folder, _, leaf = member.filename.partition("/")
            if folder != root or leaf.lower() in seen:  # torch finds members without regard to case
                raise LoadFailed(file, f"refused: the archive holds {member.filename[:80]!r} twice or elsewhere")
            seen.add(leaf.lower())
            is_code = _CODE.fullmatch(leaf) is not None
            code += member.file_size if is_code or leaf.endswith(".pkl") else 0
            if code > _MOST_CODE:
                raise LoadFailed(file, f"expected at most {_MOST_CODE} bytes of code")
            if is_code or _KEPT.fullmatch(leaf) or leaf in {f"extra/{name}" for name in extra}:
                content = archive.read(member)
                if is_code:
                    _check_code(file, content.decode())
                elif leaf.endswith(".pkl") and _EXTENSION.search(content):
                    raise LoadFailed(file, "refused: it holds objects of classes of an extension")
                kept.writestr(f"model/{leaf}", content)
            elif not _LEFT_OUT.fullmatch(leaf):
                raise LoadFailed(file, f"refused: the archive holds {leaf[:80]!r}, which no plain TorchScript has")
    made.seek(0)
    return made


def _check_code(file: Path, code: str) -> None:
    tokens = ["", ""]
    at = 0
    while at < len(code):
        match = _TOKEN.match(code, at)
        if match is None:
            line = code.count("\n", 0, at) + 1
            raise LoadFailed(file, f"refused: line {line} of its code holds what torch does not write")
        at = match.end()
        if match.lastgroup != "space":
            tokens.append(match[0])
    tokens += [""] * 4
    for index in range(2, len(tokens) - 4):
        if found := _forbidden(tokens, index):
            raise LoadFailed(file, f"refused: its code calls {found}, which is none that works on tensors alone")


def _forbidden(tokens: list[str], at: int) -> str | None:
    """What the word at this place names, if it may not be named."""
    word = tokens[at]
    if tokens[at - 1] == ".":
        if word == "classes" and tokens[at - 2] == "torch":
            return "torch.classes"
        return _forbidden_of_value(word)
    if word in _REMOTE:
        return word
    if word == "getattr":
        return _forbidden_getattr(tokens[at + 1 :])
    if word not in ("torch", "ops") or tokens[at + 1] == ":":  # with a colon it declares an attribute
        return None
    if tokens[at + 1] != ".":
        return f"{word} by another name"
    if word == "torch":
        return None if _is_allowed("aten", tokens[at + 2]) else f"torch.{tokens[at + 2]}"
    space, name = tokens[at + 2], tokens[at + 4]
    return None if tokens[at + 3] == "." and _is_allowed(space, name) else f"ops.{space}.{name}"


def _forbidden_of_value(name: str) -> str | None:
    return f"torch.{name}" if _schemas(f"aten::{name}") and not _is_allowed("aten", name) else None


def _forbidden_getattr(tokens: list[str]) -> str | None:
    """Of `getattr(x, "NAME")` the same as of `x.NAME`; any text between its brackets may be the name."""
    depth = 0
    for word in tokens:
        depth += (word == "(") - (word == ")")
        if word[:1] in ("'", '"'):
            if "\\" in word:
                return "getattr with an escaped name"
            if found := _forbidden_of_value(word[1:-1]):
                return found
        if depth == 0:
            break
    return None


def _is_allowed(space: str, name: str) -> bool:
    if space == "prim":
        return name in _PRIMITIVES
    return (
        space in _NAMESPACES
        and bool(_schemas(f"{space}::{name}"))
        and (not name.startswith("_") or PRIVATE.fullmatch(name) is not None)
        and not UNCHECKED.fullmatch(name)
        and not _takes_text(f"{space}::{name}")
    )


def _takes_text(name: str) -> bool:
    return name.partition("::")[2] not in _TEXTS and any(
        "str" in str(argument.type) for schema in _schemas(name) for argument in schema.arguments
    )


@lru_cache(maxsize=4096)
def _schemas(name: str) -> tuple[Any, ...]:
    import torch

    return tuple(torch._C._jit_get_schemas_for_operator(name)) if name.isascii() else ()

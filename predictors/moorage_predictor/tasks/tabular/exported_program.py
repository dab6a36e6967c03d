"""A `torch.export` archive (.pt2) -> the part of it that cannot run code. Called by `exported_module.py`.

`torch.export.load` trusts what it reads: it falls back to `weights_only=False`, unpickles "opaque" constants, loads compiled
libraries out of the archive, finds operators by walking attributes from `torch`, hands expressions to `sympify`, which
evaluates them, and writes guards and names into Python of its own. So the archive is written anew from the members that are
known, after their JSON was looked through:

| member                            | kept if                                                                     |
|-----------------------------------|-----------------------------------------------------------------------------|
| models/model.json                 | operators are aten's and Python's arithmetic, expressions and guards have   |
|                                   | known words, names are plain                                                |
| data/*/model_*_config.json        | nothing in it is a pickle                                                   |
| data/weights/*, data/constants/*  | raw bytes of a tensor                                                       |
| data/sample_inputs/model.pt       | never: an empty one takes its place                                         |
| all else                          | the versions and byte order; the rest is refused                            |

Operators that write in place (`relu_`, `add_`) are let through: torch.export leaves them in programs of usual networks. So a program
may write its own weights, and answer the next request with what it kept of the last: whoever serves a model lets its author see what
it is asked, as with every format. Operators that begin with _ check less; of those only what networks are exported as is let through,
as of TorchScript. None of this makes torch's native operators safe for memory: `docs/design/0022` says what is left.
"""

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any, Final

from moorage_predictor.engine.torchscript import PRIVATE, UNCHECKED
from moorage_predictor.errors import LoadFailed

_PLAIN: Final = re.compile(r"archive_format|archive_version|byteorder|\.data/version|\.data/serialization_id|version")
_CONFIG: Final = re.compile(r"data/(weights|constants)/model_(weights|constants)_config\.json")
_TENSOR: Final = re.compile(r"data/(weights/weight|constants/tensor)_\d+")
_PATH: Final = re.compile(r"(weight|tensor)_\d+")
_MODEL: Final = "models/model.json"
_SAMPLES: Final = "data/sample_inputs/model.pt"
_EXPORTED: Final = (
    r"__i?(?:and|or|xor|lshift|rshift)__"
    r"|_(?:conj_physical|efficientzerotensor|embedding_bag_forward_only|fake_quantize_\w+|linalg_\w+|local_scalar_dense"
    r"|masked_softmax|native_batch_norm_legit(?:_no_training)?|neg_view|pdist_forward|prelu_kernel"
    r"|scaled_dot_product_\w+|thnn_fused_(?:gru|lstm)_cell|unsafe_index(?:_put)?|unsafe_masked_index)"
)
"""What torch.export makes of a network, beside what TorchScript has. `exported_module.py` changes the batch norms."""
_REFUSED: Final = rf"from_file|save|(?:{UNCHECKED.pattern})\."
_OPERATOR: Final = re.compile(
    rf"torch\.ops\.(aten|prims)\.(?:(?!{_REFUSED})[a-z0-9][A-Za-z_0-9]*|(?!__)(?:{PRIVATE.pattern})|{_EXPORTED})\.[A-Za-z_0-9]+"
    r"|_operator\.(getitem|add|sub|mul|truediv|floordiv|mod|pow|neg|eq|ne|lt|le|gt|ge|and_|or_)"
    r"|math\.[a-z0-9]+|torch\.sym_(max|min|int|float|not|ite|sum|sqrt)"
)
_SYMBOL: Final = re.compile(r"(s|u|z|f|zf|zuf)\d+")
_WORD: Final = re.compile(r"[A-Za-z_]\w*")
_EXPRESSION: Final = re.compile(r"[A-Za-z0-9_+\-*/%(), .<>=&|~']*")
_NAME: Final = re.compile(r"[\w.+\- ]*")
_SPEC: Final = re.compile(r'(?:[\w.+\- \[\]{},:"]|\\(?=["\\]))*')
"""JSON of a tree: no escape, which could spell anything else."""
_KEY: Final = re.compile(r"\['\w+'\]")
_GUARD: Final = re.compile(r"[\w.+\-*/%(), \[\]<>=!]{1,1000}")
_OF_GUARDS: Final = frozenset(("L", "size", "stride", "storage_offset", "ndim", "shape", "and", "or", "not"))
_FUNCTIONS: Final = frozenset(
    (
        *(
            "Max",
            "Min",
            "Mod",
            "PythonMod",
            "FloorDiv",
            "CeilDiv",
            "CleanDiv",
            "ModularIndexing",
            "Where",
            "IntTrueDiv",
        ),
        *(
            "FloatTrueDiv",
            "PowByNatural",
            "Pow",
            "Abs",
            "Eq",
            "Ne",
            "Lt",
            "Le",
            "Gt",
            "Ge",
            "And",
            "Or",
            "Not",
            "ToFloat",
        ),
        *("TruncToInt", "RoundToInt", "floor", "ceiling", "oo", "int_oo", "True", "False", "None"),
        *("Symbol", "Integer", "Rational", "Add", "Mul", "integer", "positive", "nonnegative", "real"),
    )
)
_TREES: Final = (None, "builtins.tuple", "builtins.list", "builtins.dict")
_NUMBER: Final = re.compile(r"\d+")
_POWER: Final = re.compile(r"\*\*|Pow")
_MOST_NUMBER: Final = 10**18
_MOST_UNDER_POWER: Final = 4096
_MOST_BYTES: Final = 4 << 30
_MOST_JSON: Final = 64 << 20


def without_code(file: Path) -> io.BytesIO:
    """The archive, written anew.

    Raises:
        LoadFailed: it holds what could run code, or is damaged; the message says what.
    """
    made = io.BytesIO()
    try:
        with zipfile.ZipFile(file) as archive, zipfile.ZipFile(made, "w") as kept:
            if sum(member.file_size for member in archive.infolist()) > _MOST_BYTES:
                raise LoadFailed(file, f"expected at most {_MOST_BYTES} bytes")
            for member in archive.infolist():
                _, _, leaf = member.filename.partition("/")
                content = archive.read(member)
                kept.writestr(f"model/{leaf}", _kept(file, leaf, content))
    except (zipfile.BadZipFile, zipfile.LargeZipFile, OSError, NotImplementedError, RuntimeError, EOFError) as error:
        raise LoadFailed(file, "not a complete torch.export archive: it is truncated or corrupt") from error
    made.seek(0)
    return made


def _kept(file: Path, leaf: str, content: bytes) -> bytes:
    if leaf == _SAMPLES:
        return b""
    if leaf == _MODEL:
        _look_through(file, _json(file, leaf, content))
    elif _CONFIG.fullmatch(leaf):
        _check_payloads(file, _json(file, leaf, content))
    elif not (_PLAIN.fullmatch(leaf) or _TENSOR.fullmatch(leaf)):
        raise LoadFailed(file, f"refused: the archive holds {leaf[:80]!r}, which no plain exported program has")
    return content


def _json(file: Path, leaf: str, content: bytes) -> Any:
    if len(content) > _MOST_JSON:
        raise LoadFailed(file, f"{leaf}: expected at most {_MOST_JSON} bytes")
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise LoadFailed(file, f"{leaf}: not readable JSON") from error


def _check_payloads(file: Path, document: Any) -> None:
    config = document.get("config") if isinstance(document, dict) else None
    if not isinstance(config, dict):
        raise LoadFailed(file, "expected a list of tensors by name in the archive's configuration")
    _look_through(file, document)
    for name, payload in config.items():
        if not isinstance(payload, dict) or payload.get("use_pickle") is not False:
            raise LoadFailed(file, f"refused: {str(name)[:80]!r} is a pickle, which could run code")
        if not _PATH.fullmatch(str(payload.get("path_name"))):
            raise LoadFailed(file, f"refused: {str(name)[:80]!r} is no plain tensor")


def _look_through(file: Path, document: Any) -> None:
    """Every text, wherever it stands: torch makes Python of names, expressions and guards alike.

    Only what is at its own place is judged by that place's rule, because in many dictionaries the keys are the file's choice.
    """
    graph = document.get("graph_module") if isinstance(document, dict) else None
    signature = graph.get("signature") if isinstance(graph, dict) else None
    pending = [(document, False)]
    while pending:
        node, signed = pending.pop()
        if isinstance(node, list):
            pending.extend((value, signed) for value in node)
        elif isinstance(node, str):
            _check_name(file, node)
        elif isinstance(node, dict):
            for key, value in node.items():
                _check_name(file, key)
                if key == "metadata" and (node is graph or "target" in node) and _texts_alone(value):
                    continue  # stack traces, which are only kept
                if key in ("range_constraints", "symbol_name_to_range") and isinstance(value, dict):
                    for symbol in value:
                        _check_expression(file, symbol)
                    pending.append((list(value.values()), signed))
                elif key == "guards_code" and node is document and isinstance(value, list):
                    for guard in value:
                        _check_guard(file, guard)
                elif key == "expr_str":
                    _check_expression(file, value)
                elif key in ("target", "as_operator") and isinstance(value, str) and not signed:
                    _check_operator(file, value)
                elif key in ("in_spec", "out_spec") and isinstance(value, str):
                    _check_name(file, value, _SPEC)
                    _check_tree(file, value)
                elif key in ("as_string", "as_strings") and (isinstance(value, str) or _texts_alone(value)):
                    continue  # an operator's argument, which torch writes in quotes
                else:
                    pending.append((value, signed or value is signature))


def _texts_alone(value: Any) -> bool:
    texts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [None]
    return all(isinstance(text, str) for text in texts)


def _check_name(file: Path, text: str, expected: re.Pattern[str] = _NAME) -> None:
    if not expected.fullmatch(text):
        raise LoadFailed(file, f"refused: {text[:80]!r} is no plain name")


def _check_tree(file: Path, text: str) -> None:
    """Of inputs or outputs. Torch imports what other types, and dictionaries as contexts, name."""
    try:
        pending = json.loads(text)[1:] if text else []
        while pending:
            node = pending.pop()
            context = json.loads(node["context"]) if isinstance(node["context"], str) else node["context"]
            names = context if isinstance(context, list) else []
            if (
                set(node) != {"type", "context", "children_spec"}
                or node["type"] not in _TREES
                or not (context is None or (isinstance(context, list) and all(type(name) is str for name in names)))
            ):
                raise LoadFailed(
                    file, f"refused: a tree of {str(node['type'])[:80]!r}: expected tuples, lists and dicts"
                )
            pending.extend(node["children_spec"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise LoadFailed(file, f"refused: {text[:80]!r} is no tree of inputs or outputs") from error


def _is_small(text: str) -> bool:
    """Whether it takes no time to evaluate."""
    numbers, powers = [int(number) for number in _NUMBER.findall(text)], len(_POWER.findall(text))
    return max(numbers, default=0) <= (_MOST_UNDER_POWER if powers else _MOST_NUMBER) and powers <= 1


def _check_operator(file: Path, name: str) -> None:
    if not _OPERATOR.fullmatch(name):
        raise LoadFailed(file, f"refused: the operator {name[:80]!r} is none that a model of numbers needs")


def _check_guard(file: Path, text: Any) -> None:
    """Of an input's shape: `L['x'].size()[0] >= 2`."""
    bare = _KEY.sub("[0]", text) if isinstance(text, str) else "?"
    words = _WORD.findall(bare)
    if (
        not _GUARD.fullmatch(bare)
        or not _is_small(bare)
        or any(word not in _FUNCTIONS and word not in _OF_GUARDS for word in words)
    ):
        raise LoadFailed(file, f"refused: the guard {str(text)[:80]!r} is none of a shape")


def _check_expression(file: Path, text: Any) -> None:
    words = _WORD.findall(text) if isinstance(text, str) else ["?"]
    if (
        not isinstance(text, str)
        or len(text) > 1000
        or not _EXPRESSION.fullmatch(text)
        or not _is_small(text)
        or any(word not in _FUNCTIONS and not _SYMBOL.fullmatch(word) for word in words)
    ):
        raise LoadFailed(file, f"refused: the expression {str(text)[:80]!r} is none of a shape")

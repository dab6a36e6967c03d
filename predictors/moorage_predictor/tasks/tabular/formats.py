"""What kind of file holds the model, told by its bytes and never by its name. Called by `load.py` before any library is
imported that would open it.

| kind      | told by                                     | may opening it run code?                                    |
|-----------|---------------------------------------------|-------------------------------------------------------------|
| skops     | zip with schema.json                        | only types that are trusted                                 |
| xgboost   | JSON or UBJSON with a learner               | no                                                          |
| lightgbm  | text that begins with tree, version         | no                                                          |
| onnx      | protobuf with a graph                       | no                                                          |
| exported  | zip with an exported program                | no, after `exported_program.py` has looked through it       |
| script    | zip with code/ and constants.pkl            | TorchScript's own operators; those that touch files refused |
| weights   | safetensors                                 | no                                                          |
| pickle    | pickle, joblib, torch's own checkpoints     | yes: refused without `allowUnsafeFormats`                   |
"""

import zipfile
from pathlib import Path
from typing import Final, Literal, get_args

from moorage_predictor.errors import LoadFailed

Format = Literal["skops", "xgboost", "lightgbm", "onnx", "exported", "script", "weights", "pickle"]

FORMATS: Final[tuple[Format, ...]] = get_args(Format)
SIDECARS: Final = frozenset({"schema.json", "config.json", "background.csv", "MLmodel", "SHA256SUMS"})
"""What may lie beside a model and is none."""

_HEAD: Final = 4096
_COMPRESSED: Final = (
    b"\x1f\x8b",
    b"BZh",
    b"\xfd7zXZ\x00",
    b"\x04\x22\x4d\x18",
    b"\x78\x01",
    b"\x78\x5e",
    b"\x78\x9c",
    b"\x78\xda",
)
"""gzip, bzip2, xz, lz4 and the four levels of zlib: what joblib writes."""
_MOST_MEMBERS: Final = 100_000
_MOST_INFLATED: Final = 8 << 30


def format_of(file: Path) -> Format | None:
    """None: nothing that can be served.

    Raises:
        LoadFailed: it cannot be read.
    """
    try:
        with file.open("rb") as stream:
            head = stream.read(_HEAD)
        size = file.stat().st_size
    except OSError as error:
        raise LoadFailed(file, f"cannot be read: {error.strerror}") from error
    if head.startswith(b"PK\x03\x04"):
        return _of_zip(file)
    if head.startswith(b"tree\n") and b"\nversion=" in head:
        return "lightgbm"
    if head[:1] == b"{" and b"learner" in head:
        return "xgboost"
    if _is_pickle(head):
        return "pickle"
    if _is_safetensors(head, size):
        return "weights"
    if _is_onnx(file, head):
        return "onnx"
    return None


def find_model(path: Path) -> tuple[Path, Format]:
    """The model at `path` (a file), or the only one in it (a folder); one that cannot run code wins over a pickle.

    Raises:
        LoadFailed: there is none, or a choice that only the user can make.
    """
    if not path.exists():
        raise LoadFailed(path, "no such file or folder")
    if path.is_file():
        if (kind := format_of(path)) is None:
            raise LoadFailed(
                path, f"not a model in one of the formats {', '.join(FORMATS[:-1])}: corrupt, or something else"
            )
        return path, kind
    files = sorted(one for one in path.iterdir() if one.is_file() and one.name not in SIDECARS)
    kinds = [(file, kind) for file in files if (kind := format_of(file)) is not None]
    found = [one for one in kinds if one[1] != "pickle"] or kinds
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(file.name for file, _ in found[:5])
        raise LoadFailed(path, f"expected one model, found {len(found)} ({names}); name one of them")
    seen = f", found {', '.join(file.name for file in files[:5])}" if files else ", found nothing"
    raise LoadFailed(path, f"expected a model in one of the formats {', '.join(FORMATS[:-1])}{seen}")


def _of_zip(file: Path) -> Format | None:
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            size = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise LoadFailed(file, "not a complete zip archive: it is truncated or corrupt") from error
    if size > _MOST_INFLATED:
        raise LoadFailed(file, f"expected at most {_MOST_INFLATED} bytes in the archive, found {size}")
    if len(names) > _MOST_MEMBERS:
        raise LoadFailed(file, f"expected at most {_MOST_MEMBERS} files in the archive, found {len(names)}")
    leaves = {name.partition("/")[2] for name in names}
    if "schema.json" in names:
        return "skops"
    if "serialized_exported_program.json" in names or "models/model.json" in leaves:
        return "exported"
    if "constants.pkl" in leaves and any(leaf.startswith("code/") for leaf in leaves):
        return "script"
    if "data.pkl" in leaves or any(name.endswith((".pkl", ".pickle")) for name in names):
        return "pickle"
    return None


def _is_pickle(head: bytes) -> bool:
    if len(head) > 1 and head[0] == 0x80 and head[1] <= 5:
        return True
    # Protocols 0 and 1 have no magic number: text whose first opcode makes an object, or names what makes one.
    return head.startswith(_COMPRESSED) or head.startswith(
        (b"c__", b"ccopy_reg", b"cbuiltins", b"(i", b"(c", b"(dp", b"(lp", b"cos", b"cposix")
    )


def _is_safetensors(head: bytes, size: int) -> bool:
    length = int.from_bytes(head[:8], "little")
    return len(head) > 8 and 0 < length <= size - 8 and head[8:9] == b"{"


def _is_onnx(file: Path, head: bytes) -> bool:
    """A ModelProto: the version of the format first (field 1), then a graph (field 7) among fields that exist."""
    if not head.startswith(b"\x08"):
        return False
    content = file.read_bytes()
    at, graph = 0, False
    while at < len(content):
        tag, at = _varint(content, at)
        field, wire = tag >> 3, tag & 7
        if wire == 0:
            _, at = _varint(content, at)
        elif wire == 2:
            length, at = _varint(content, at)
            at += length
        else:
            return False
        if field > 32 or at < 0:
            return False
        graph |= field == 7 and wire == 2
    return graph and at == len(content)


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """The number, and where it ends; an end before the beginning if there is none."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(content):
            break
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    return 1 << 10, -(1 << 62)

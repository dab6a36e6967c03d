"""TorchScript that could reach beyond its tensors is refused before torch reads it, however it is written."""

import io
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from moorage_predictor.engine import torchscript
from moorage_predictor.errors import LoadFailed

warnings.filterwarnings("ignore", category=FutureWarning)
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


class Writes(nn.Module):
    def __init__(self, file: str) -> None:
        super().__init__()
        self.file = file

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.save(x, self.file)
        return x


class Many(nn.Module):
    """What models do: modes, texts, dictionaries, loops, errors with words that look like code."""

    def __init__(self) -> None:
        super().__init__()
        self.ops = nn.ModuleList([nn.Linear(4, 4), nn.LSTM(4, 4)])
        self.attention = nn.TransformerEncoderLayer(4, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.dim() != 3:
            raise ValueError(f"torch.save('x'), # {x.shape} \"quoted\" \\")
        x = nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")[..., :4]
        x = nn.functional.pad(x, (1, 1), mode="circular")[..., 1:5]
        sums: dict[str, int] = {"a": 1}
        for name, value in sums.items():
            x = x + value + len(name)
        x = self.attention(x) + torch.div(x, 2, rounding_mode="floor")
        return torch.einsum("bij->bj", x).softmax(-1).quantile(0.5, dim=1)


def saved(module: nn.Module, file: Path) -> dict[str, bytes]:
    torch.jit.save(torch.jit.script(module.eval()), file, _extra_files={"words": "abc"})
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def written(members: list[tuple[str, bytes]], file: Path) -> Path:
    with zipfile.ZipFile(file, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of names that stand there twice
        for name, content in members:
            archive.writestr(name, content)
    return file


def test_models_that_keep_to_tensors_are_opened(tmp_path: Path) -> None:
    saved(Many(), tmp_path / "m.pt")
    extra = {"words": ""}
    module = torchscript.load(tmp_path / "m.pt", extra)
    assert module(torch.zeros(1, 4, 4)).shape == (1,)
    assert extra == {"words": b"abc"}


def test_traced_models_are_opened(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.GELU(), nn.AdaptiveAvgPool2d(1)).eval()
    x = torch.ones(1, 3, 8, 8)
    torch.jit.save(torch.jit.trace(module, x), tmp_path / "m.pt")
    assert torch.equal(torchscript.load(tmp_path / "m.pt")(x), module(x))


Edit = Callable[[str, bytes], list[tuple[str, bytes]]]


def in_code(old: bytes, new: bytes) -> Edit:
    return lambda name, content: [(name, content.replace(old, new) if name.endswith(".py") else content)]


def renamed(old: str, new: str) -> Edit:
    return lambda name, content: [(name.replace(old, new), content)]


ATTACKS: dict[str, Edit] = {
    "as torch writes it": lambda name, content: [(name, content)],
    "with a space": in_code(b"torch.save(", b"torch. save("),
    "over two lines": in_code(b"torch.save(", b"torch.\\\n save("),
    "with a comment": in_code(b"torch.save(", b"torch.save(# x\n"),
    "by another road": in_code(b"torch.save(", b"torch.autograd.save("),
    "as an operator": in_code(b"torch.save(", b"ops . aten . save("),
    "by another name": in_code(b"_0 = torch.save(", b"t = torch\n    _0 = t.save("),
    "by getattr": in_code(b"torch.save(", b'getattr(torch, "save")('),
    "in a member with large letters": renamed(".py", ".PY"),
    "in a folder with large letters": renamed("/code/", "/Code/"),
    "in another folder": renamed("/code/", "//code/"),
    "in a second member": lambda name, content: [
        (name, content.replace(b"torch.save(", b"torch.relu(")),
        *([(name.replace("__torch__.py", "__TORCH__.py"), content)] if name.endswith(".py") else []),
    ],
}


@pytest.mark.parametrize("how", ATTACKS)
def test_code_that_writes_a_file_is_refused(how: str, tmp_path: Path) -> None:
    alarm = tmp_path / "canary"
    members = saved(Writes(str(alarm)), tmp_path / "plain.pt")
    assert any(b"torch.save(" in content for content in members.values())
    hostile = written([pair for item in members.items() for pair in ATTACKS[how](*item)], tmp_path / "m.pt")
    with pytest.raises(LoadFailed, match="refused: "):
        torchscript.load(hostile)
    assert not alarm.exists()


@pytest.mark.parametrize(
    "how", ["with a space", "by another road", "by another name", "in a member with large letters"]
)
def test_torch_itself_would_have_written_it(how: str, tmp_path: Path) -> None:
    """So that the tests above test something."""
    alarm = tmp_path / "canary"
    members = saved(Writes(str(alarm)), tmp_path / "plain.pt")
    hostile = written([pair for item in members.items() for pair in ATTACKS[how](*item)], tmp_path / "m.pt")
    torch.jit.load(hostile)(torch.zeros(1))
    assert alarm.exists()


@pytest.mark.parametrize(
    "code",
    [
        'torch.from_file("/etc/passwd")',
        "torch._unsafe_index(x)",
        "x._reshape_alias([400], [1])",
        'getattr(x, "_reshape_alias")([400], [1])',
        'getattr((x), "_reshape\\x5falias")([400], [1])',
        "torch.as_strided(x, [400], [1])",
        "torch.native_batch_norm(x, x, x, x, x, True, 0.1, 0.1)",
        "torch._native_batch_norm_legit(x, x, x, x, x, True, 0.1, 0.1)",
        "torch._weight_norm(x, x)",
        "ops.image.read_file(x)",
        "ops.prim.rpc_sync(x)",
        "rpc_async(x)",
        "y = ops.aten",
        "1.torch.save(x)",
        '"""a""" torch',
        "torch\t.relu(x)",
        "y = é",
        "y : __torch__.torch.classes.a.B",
    ],
)
def test_code_that_torch_does_not_write_is_refused(code: str, tmp_path: Path) -> None:
    members = saved(nn.ReLU(), tmp_path / "m.pt")
    edited = [
        (name, content + f"\n{code}\n".encode() if name.endswith(".py") else content)
        for name, content in members.items()
    ]
    with pytest.raises(LoadFailed, match="refused: "):
        torchscript.load(written(edited, tmp_path / "m.pt"))


def test_objects_of_extensions_are_refused(tmp_path: Path) -> None:
    members = saved(nn.ReLU(), tmp_path / "m.pt")
    for name in members:
        if name.endswith("/data.pkl"):
            members[name] = b"\x80\x02c__torch__.torch\nclasses.a.B\n)\x81."
    with pytest.raises(LoadFailed, match="refused: it holds objects of classes of an extension"):
        torchscript.load(written(list(members.items()), tmp_path / "m.pt"))


def test_an_archive_that_grows_is_refused(tmp_path: Path) -> None:
    saved(nn.ReLU(), tmp_path / "m.pt")
    with zipfile.ZipFile(tmp_path / "m.pt", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(archive.namelist()[0].partition("/")[0] + "/code/__torch__/big.py", b" " * (65 << 20))
    with pytest.raises(LoadFailed, match="expected at most 67108864 bytes of code"):
        torchscript.load(tmp_path / "m.pt")


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    stream = io.BytesIO()
    pickle.dump({}, stream)
    (tmp_path / "m.pt").write_bytes(stream.getvalue())
    with pytest.raises(LoadFailed, match="not a TorchScript module that this torch can read"):
        torchscript.load(tmp_path / "m.pt")

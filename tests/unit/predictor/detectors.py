"""Small detectors for the unit tests: torchvision's own with random weights that tell classes apart, and exported ones."""

import io
import warnings
from pathlib import Path

import onnx
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import detection

NAMES = ("circle", "square", "triangle")
SIDE = 64


class Marks(nn.Module):
    """A box of 16x16 pixels at each of 8x8 places, sure of class c where colour c is bright: YOLOv8's output."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        scores = nn.functional.avg_pool2d(images, 8).flatten(2)
        middles = torch.arange(8) * 8.0 + 4
        y, x = torch.meshgrid(middles, middles, indexing="ij")
        places = torch.stack([x.flatten(), y.flatten(), torch.full((64,), 16.0), torch.full((64,), 16.0)])
        return torch.cat([places.expand(scores.shape[0], 4, 64), scores], 1)


def torchvision_model(name: str, classes: int = 4, **arguments: object) -> nn.Module:
    """Its scores differ, as those of a trained one do; the head's own initial weights make them all alike."""
    torch.manual_seed(5)
    model = getattr(detection, name)(weights=None, weights_backbone=None, num_classes=classes, **arguments).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "cls_" in key or "classification_head" in key:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def save_weights(model: nn.Module, folder: Path) -> Path:
    file = folder / "model.safetensors"
    save_file({key: value.clone().contiguous() for key, value in model.state_dict().items()}, file)
    return file


def write_script(folder: Path, module: nn.Module | None = None, **extra: str) -> Path:
    file = folder / "model.torchscript"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # TorchScript is deprecated; people have files of it
        torch.jit.save(
            torch.jit.trace(module or Marks().eval(), torch.zeros(1, 3, SIDE, SIDE)), file, _extra_files=extra
        )
    return file


def write_program(folder: Path) -> Path:
    file = folder / "model.pt2"
    example = (torch.zeros(2, 3, SIDE, SIDE),)
    program = torch.export.export(Marks().eval(), example, dynamic_shapes=({0: torch.export.Dim("n", min=1, max=64)},))
    stream = io.BytesIO()
    torch.export.save(program, stream)
    file.write_bytes(stream.getvalue())
    return file


def write_onnx(folder: Path, rows: int | str = "n", **metadata: str) -> Path:
    """By hand, operator by operator: the exporter takes seconds."""
    helper, kind = onnx.helper, onnx.TensorProto
    middles = (torch.arange(8) * 8.0 + 4).tolist()
    places = [x for _ in middles for x in middles] + [y for y in middles for _ in middles] + [16.0] * 128
    shape = [rows, 3, SIDE, SIDE]
    graph = helper.make_graph(
        [
            helper.make_node("AveragePool", ["images"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8]),
            helper.make_node("Reshape", ["pooled", "flat"], ["scores"]),
            helper.make_node("Mul", ["scores", "zero"], ["nothing"]),
            helper.make_node("Slice", ["nothing", "first", "last", "axis"], ["column"]),
            helper.make_node("Add", ["column", "places"], ["boxes"]),
            helper.make_node("Concat", ["boxes", "scores"], ["output0"], axis=1),
        ],
        "marks",
        [helper.make_tensor_value_info("images", kind.FLOAT, shape)],
        [helper.make_tensor_value_info("output0", kind.FLOAT, [rows, 7, 64])],
        [
            helper.make_tensor("flat", kind.INT64, [3], [0, 3, 64]),
            helper.make_tensor("zero", kind.FLOAT, [], [0.0]),
            helper.make_tensor("first", kind.INT64, [1], [0]),
            helper.make_tensor("last", kind.INT64, [1], [1]),
            helper.make_tensor("axis", kind.INT64, [1], [1]),
            helper.make_tensor("places", kind.FLOAT, [1, 4, 64], places),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, metadata)
    file = folder / "model.onnx"
    onnx.save(model, file)
    return file

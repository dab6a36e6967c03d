"""What a network computes on its way to the logits: feature vectors, and the attention weights of a transformer's block.

    Pass (what the requests of one batch want) -> forward_features, watched -> forward_head -> Inspected

timm's transformers call a fused kernel that never has the weights as a matrix. `_Watch` sees the kernel's arguments (query,
key, mask, as the block made them, rotated and normalised) and computes softmax(query key^T / sqrt(d) + mask) from those beside
it: exact for every architecture whose blocks attend over all tokens, and the network's own answer stays the kernel's. torch's
function modes hold for one thread, so passes that want none of it, in other threads, are not touched. Whether a network's attentions are
what its parts promise is seen in the warm-up (`Inspectable.verified`): some mix their heads, or bring the class token in late.

Made by `network.load`, called by the classifier; post-processing is the task's (`tasks/image_classification/attention.py`).
"""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from moorage_predictor.engine.backend import Float32s

if TYPE_CHECKING:
    from moorage_predictor.engine.backends.eager import Eager

FeatureKind = Literal["cls", "pooled"]
_SOFTMAX: Final = (torch.Tensor.softmax, torch.softmax, functional.softmax)


@dataclass(frozen=True)
class Pass:
    """What a forward pass is to give beside the logits. Requests share a pass only if theirs are equal."""

    features: FeatureKind | None = None
    layer: int | None = None
    """Whose attention, from 0."""
    per_head: bool = False
    """Each head's weights; else their mean."""


@dataclass(frozen=True)
class Inspected:
    """Of n images."""

    logits: Float32s
    """[n, classes]"""
    features: Float32s | None
    """[n, dimensions]"""
    attention: Float32s | None
    """[n, heads or 1, tokens, tokens]: row i is how token i looks at all; rows sum to 1."""


@dataclass(frozen=True)
class Tokens:
    """Of a transformer, for images of the size it is given."""

    layers: int
    heads: int
    class_token: bool
    """Is the first token the class token?"""
    registers: int
    """Register tokens, which follow it."""
    grid: tuple[int, int]
    """Patches down and across, the last tokens."""
    others: int = 0
    """Tokens between the registers and the patches: DeiT's for distillation."""

    @property
    def prefix(self) -> int:
        """How many come before the patches."""
        return self.class_token + self.registers + self.others

    @property
    def count(self) -> int:
        """All of them."""
        return self.prefix + self.grid[0] * self.grid[1]


class Inspectable:
    """A network in torch's own operators, and what it can give. Safe to call from several threads."""

    def __init__(self, engine: "Eager", size: tuple[int, int]) -> None:
        """The engine holds one of timm's networks; `size` is height and width of its input."""
        self.engine = engine
        module = self._module = engine.module
        self._sequence = _tokens(module, size)
        """What `forward_features` gives; None: no tokens."""
        self.tokens = self._sequence
        """Of its attentions; None: it has none over all tokens."""
        able = callable(getattr(module, "forward_features", None)) and callable(getattr(module, "forward_head", None))
        width = getattr(module, "num_features", 0)
        self.widths: dict[FeatureKind, int] = {}
        """Dimensions of each kind of feature vector that it has; the first is the usual one."""
        if able and self._sequence and self._sequence.class_token:
            self.widths["cls"] = width
        if able and width:
            self.widths["pooled"] = width if self._sequence else getattr(module, "head_hidden_size", None) or width

    def verified(self, batch: Float32s) -> Float32s:
        """Logits of one image, [1, 3, height, width], of a pass that also shows whether each block attends as `tokens` says,
        which is None from then on if one does not. Called once, before anybody asks for attention."""
        if self.tokens is None:
            return self.engine.forward(batch)
        with _Shapes() as seen:
            logits = self.engine.forward(batch)
        tokens = self.tokens
        expected = (1, tokens.heads, tokens.count, tokens.count)
        # What pools tokens after the last block attends too, but not from all of them.
        if seen.shapes[: tokens.layers] != [expected] * tokens.layers or expected in seen.shapes[tokens.layers :]:
            self.tokens = None
        return logits

    def run(self, batch: Float32s, wanted: Pass, threads: int | None = None) -> Inspected:
        """One pass over a batch [n, 3, height, width], made with so many cores; None is all of the pod's.

        Raises:
            ValueError: its attention is not what `tokens` says.
        """
        with torch.inference_mode():
            return self._run(self.engine.images(batch, threads), wanted)

    def _run(self, images: Any, wanted: Pass) -> Inspected:
        watch = None if wanted.layer is None else _Watch(wanted.layer, wanted.per_head)
        with watch or nullcontext():
            found = self._module.forward_features(images)
        attention = None
        if watch is not None:
            assert self.tokens is not None
            expected = (len(images), self.tokens.heads if wanted.per_head else 1, *(self.tokens.count,) * 2)
            if watch.weights is None or tuple(watch.weights.shape) != expected:
                shape = None if watch.weights is None else list(watch.weights.shape)
                raise ValueError(
                    f"attention of block {wanted.layer}: expected {list(expected)}, the network has {shape}"
                )
            attention = _array(watch.weights)
        classes = getattr(self._module, "num_classes", 1)
        logits = _array(self._module.forward_head(found)) if classes else np.empty((len(images), 0), np.float32)
        features = None if wanted.features is None else _array(self._features(found, wanted.features))
        return Inspected(logits, features, attention)

    def _features(self, found: Any, kind: FeatureKind) -> Any:
        """[n, dimensions] of what `forward_features` gave."""
        if kind == "cls":
            return found[:, 0]
        if self._sequence is None or getattr(self._module, "global_pool", "") == "avg":
            return self._module.forward_head(found, pre_logits=True).flatten(1)
        return found[:, self._sequence.prefix :].mean(1)


class _Shapes(TorchFunctionMode):
    """Notes the shape of the weights of every attention that is computed while it is entered, [n, heads, tokens, tokens]."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Any function of torch that the network calls."""
        kwargs = kwargs or {}
        if func is functional.scaled_dot_product_attention:
            self.shapes.append(_weights_shape(*args, **kwargs))
        elif func in _SOFTMAX and args and args[0].ndim == 4:
            self.shapes.append(tuple(args[0].shape))
        return func(*args, **kwargs)


class _Watch(TorchFunctionMode):
    """Keeps the weights of the attention that is computed as number `layer` while it is entered."""

    def __init__(self, layer: int, per_head: bool) -> None:
        super().__init__()
        self._next, self._layer, self._per_head = 0, layer, per_head
        self.weights: Any = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Any function of torch that the network calls."""
        kwargs = kwargs or {}
        if func is functional.scaled_dot_product_attention:
            if self._is_it():
                self.weights = _weights(*args, per_head=self._per_head, **kwargs)
        elif func in _SOFTMAX and args and args[0].ndim == 4:  # a block without the fused kernel
            made = func(*args, **kwargs)
            if self._is_it():
                self.weights = made.float() if self._per_head else made.float().mean(1, keepdim=True)
            return made
        return func(*args, **kwargs)

    def _is_it(self) -> bool:
        self._next += 1
        return self._next - 1 == self._layer


def _weights_shape(query: Any, key: Any, *others: Any, **more: Any) -> tuple[int, ...]:
    """Of the arguments of `scaled_dot_product_attention`."""
    return (*query.shape[:-1], key.shape[-2])


def _weights(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
    per_head: bool,
) -> Any:
    """float32 [n, heads or 1, tokens, tokens] of the arguments of `scaled_dot_product_attention`; an image after the other,
    because all heads of all images at once can be a gigabyte."""
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
    found = []
    for index in range(len(query)):
        scores = (query[index].float() * scale) @ key[index].float().transpose(-2, -1)
        if is_causal:
            scores = scores + torch.full_like(scores, float("-inf")).triu(1)
        if attn_mask is not None:
            mask = attn_mask.expand(len(query), *scores.shape)[index]
            scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
        weights = scores.softmax(-1)
        found.append(weights if per_head else weights.mean(0, keepdim=True))
    return torch.stack(found)


def _tokens(module: Any, size: tuple[int, int]) -> Tokens | None:
    blocks, embed = getattr(module, "blocks", None), getattr(module, "patch_embed", None)
    prefix = getattr(module, "num_prefix_tokens", None)
    if not blocks or embed is None or prefix is None or not hasattr(embed, "dynamic_feat_size"):
        return None
    attention = getattr(blocks[-1], "attn", None)
    heads = getattr(attention, "num_heads", None)
    if heads is None or any(getattr(block, "window_size", 0) for block in blocks):
        return None
    height, width = embed.dynamic_feat_size(size)
    class_token = getattr(module, "cls_token", None) is not None
    register_tokens = getattr(module, "reg_token", None)
    registers = 0 if register_tokens is None else register_tokens.shape[1]
    return Tokens(len(blocks), heads, class_token, registers, (height, width), prefix - class_token - registers)


def _array(tensor: Any) -> Float32s:
    array: Float32s = tensor.float().cpu().numpy()
    return array

"""ONNX, run by onnxruntime: one input [n, k], or one input for each column, as converters of scikit-learn, XGBoost, LightGBM and
torch write them.

| outputs                                  | are                                                              |
|------------------------------------------|------------------------------------------------------------------|
| a label, and a tensor [n, c] or a ZipMap | the class, and probabilities                                     |
| one float tensor                         | what the schema's `output` says; without it probabilities if the |
|                                          | operator that makes it is Softmax or Sigmoid, else logits if     |
|                                          | there are classes or several columns, else values                |
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moorage_predictor.engine import onnx_files
from moorage_predictor.errors import LoadFailed
from moorage_predictor.tasks.tabular import onnx_graph
from moorage_predictor.tasks.tabular.estimators import Contributions, Facts, Options, Scores, softmax, two_columns
from moorage_predictor.tasks.tabular.table import Table

_DTYPES: Final = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}


class Onnx:
    """One session."""

    def __init__(self, file: Path, options: Options) -> None:
        """Raises:
        LoadFailed: it is damaged, names other files, or takes or gives what no table has.
        """
        self._session = onnx_files.session(file, options.threads)
        try:
            operators, self._own_labels = onnx_graph.read(file.read_bytes())
        except (ValueError, IndexError) as error:
            raise LoadFailed(file, "not an ONNX model that can be read: damaged") from error
        self._inputs = [(one.name, one.type, list(one.shape)) for one in self._session.get_inputs()]
        for name, kind, _ in self._inputs:
            if kind not in _DTYPES:
                raise LoadFailed(file, f"input {name[:80]}: expected a tensor of numbers or strings, found {kind}")
        outputs = self._session.get_outputs()
        self._labels = next((one.name for one in outputs if one.type in ("tensor(int64)", "tensor(string)")), None)
        floats = [one for one in outputs if one.type.startswith(("tensor(float", "tensor(double", "seq(map"))]
        if len(floats) != 1:
            names = ", ".join(one.name for one in outputs)
            raise LoadFailed(file, f"expected one output of numbers, with or without a label, found {names[:200]}")
        self._scores = floats[0].name
        stated = options.schema
        width = floats[0].shape[-1] if floats[0].type.startswith("tensor") and len(floats[0].shape) > 1 else None
        said = stated.output if stated is not None else None
        self._output = said or self._guess(
            operators.get(self._scores, ""), stated is not None and bool(stated.classes), width
        )
        self._assumed = said is None and self._output == "logits"
        self._classes = self._own_classes(file, stated.classes if stated is not None else None, width)
        columns = len(self._inputs) > 1
        count: Any = len(self._inputs) if columns else (self._inputs[0][2] or [None])[-1]
        self.facts = Facts(
            kind="onnx",
            count=count if isinstance(count, int) else None,
            names=tuple(name for name, _, _ in self._inputs) if columns else None,
            classes=self._classes,
            numbered=self._own_labels is None,
        )

    def _guess(self, operator: str, has_classes: bool, width: Any) -> str:
        if self._labels is not None or operator in ("Softmax", "Sigmoid"):
            return "probabilities"
        return "logits" if has_classes or (isinstance(width, int) and width > 1) else "value"

    def _own_classes(self, file: Path, stated: tuple[str, ...] | None, width: Any) -> tuple[str, ...] | None:
        if self._output == "value":
            return None
        if self._own_labels is not None:
            return self._own_labels
        if stated:
            return stated
        if self._labels is None and isinstance(width, int):
            return tuple(map(str, range(max(2, width))))
        if isinstance(width, int) and width > 1:
            return tuple(map(str, range(width)))
        raise LoadFailed(file, "the model does not say how many classes it has: list them in schema.json (classes)")

    def scores(self, table: Table) -> Scores:
        """Of each row."""
        labels, raw = self._run(table)
        if isinstance(raw, list):  # a ZipMap: a dictionary a row
            raw = np.array([list(row.values()) for row in raw])
        if self._output == "value":
            return Scores(values=raw.astype(np.float64).reshape(len(table)))
        if self._output == "logits":
            raw = raw.astype(np.float64).reshape(len(table), -1)
            return Scores(probabilities=softmax(raw), assumed_logits=raw if self._assumed else None)
        raw = raw.reshape(len(table), -1)
        probabilities = raw.astype(np.float64) if raw.shape[1] > 1 else two_columns(raw)
        return Scores(probabilities=probabilities, chosen=self._chosen(labels))

    def _chosen(self, labels: NDArray[Any] | None) -> NDArray[np.int64] | None:
        if labels is None or self._classes is None:
            return None
        places = {name: place for place, name in enumerate(self._classes)}
        found = [places.get(str(label), -1) for label in labels.reshape(-1).tolist()]
        if -1 in found:  # the file does not list its classes: numbers are places, texts are nobody's
            return labels.reshape(-1).astype(np.int64) if labels.dtype.kind in "iu" else None
        return np.array(found, dtype=np.int64)

    def exact(self, table: Table, chosen: NDArray[np.int64] | None, background: Table) -> Contributions | None:
        """There is no way into the graph."""
        return None

    def _run(self, table: Table) -> tuple[NDArray[Any] | None, Any]:
        if len(self._inputs) == 1:
            name, kind, _ = self._inputs[0]
            feed = {name: _of(table.values if kind == "tensor(string)" else table.codes(), kind)}
        else:
            feed = {}
            codes = (
                table.codes()
                if any(kind != "tensor(string)" for _, kind, _ in self._inputs) and table.schema.numeric
                else None
            )
            for number, (name, kind, shape) in enumerate(self._inputs):
                column = table.values[:, number] if codes is None else codes[:, number]
                array = _of(column, kind)
                feed[name] = array if len(shape) == 1 else array.reshape(-1, 1)
        wanted = [self._scores] if self._labels is None else [self._scores, self._labels]
        found = self._session.run(wanted, feed)
        return (found[1] if len(found) > 1 else None), found[0]


def _of(values: NDArray[Any], kind: str) -> NDArray[Any]:
    return np.ascontiguousarray(values.astype(_DTYPES[kind]))

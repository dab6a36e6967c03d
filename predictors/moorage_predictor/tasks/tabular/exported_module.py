"""A `torch.export` archive (.pt2) -> its module, of operators that check their sizes. Called by `estimators/torch.py` and object
detection; `exported_program.py` looks the archive through before.

`run_decompositions` leaves two forms of batch norm whose kernels read as many weights as the input has channels, however few there
are. Both are put back to `aten.batch_norm`, which checks that.
"""

import operator
from pathlib import Path
from typing import Any

import torch

from moorage_predictor.errors import LoadFailed
from moorage_predictor.tasks.tabular.exported_program import without_code


def opened(file: Path) -> tuple[torch.export.ExportedProgram, Any]:
    """The program and what runs it.

    Raises:
        LoadFailed: it could run code, is damaged, or is of another torch.
    """
    archive = without_code(file)
    try:
        program = torch.export.load(archive)
        module: Any = program.module()
        _check_batch_norms(file, module)
    except LoadFailed:
        raise
    except Exception as error:
        raise LoadFailed(
            file, "not an exported program that this torch can read: damaged, or of another version"
        ) from error
    return program, module


def _check_batch_norms(file: Path, module: Any) -> None:
    """Put every unchecked batch norm back to the one that checks; (input, weight, bias, ...) in, (output, mean, rstd) out.

    Raises:
        LoadFailed: more than the output is used, which none does that is exported for inference.
    """
    aten = torch.ops.aten
    known = (aten._native_batch_norm_legit_no_training.default, aten._native_batch_norm_legit.no_stats)
    for graph_module in [one for one in module.modules() if isinstance(one, torch.fx.GraphModule)]:
        changed = False
        for node in list(graph_module.graph.nodes):
            if "batch_norm_legit" not in str(node.target) or node.op != "call_function":
                continue
            outputs = [user for user in node.users if user.target is operator.getitem and user.args[1] == 0]
            unused = [user for user in node.users if user not in outputs and not user.users and user.op != "output"]
            if node.target not in known or node.kwargs or len(outputs) + len(unused) != len(node.users):
                raise LoadFailed(file, f"refused: {node.target} of a form that no network exported for inference has")
            trained = node.target is known[0]
            inputs, (momentum, eps) = node.args[: 5 if trained else 3], node.args[-2:]
            arguments = (*inputs, *(() if trained else (None, None)), not trained, momentum, eps, False)
            with graph_module.graph.inserting_before(node):
                checked = graph_module.graph.call_function(aten.batch_norm.default, arguments)
            for output in outputs:
                output.replace_all_uses_with(checked)
            for user in (*outputs, *unused, node):
                graph_module.graph.erase_node(user)
            changed = True
        if changed:
            graph_module.recompile()

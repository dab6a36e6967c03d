"""ONNX files of users, opened so that they can read no other file. Called by the tasks that take such files.

A tensor may say that its numbers stand in another file, and onnxruntime then reads that one, wherever the path leads: for a
model from bytes it starts at the working directory. So the model is read here first, every tensor in it is looked at, and
onnxruntime gets what was read, written anew.
"""

from pathlib import Path
from typing import Any, Final

from moorage_predictor.errors import LoadFailed

_ERROR: Final = 3


def session(file: Path, threads: int) -> Any:
    """An `onnxruntime.InferenceSession` on `threads` cores.

    Raises:
        LoadFailed: it names other files, is damaged, or there is nothing installed that could run it.
    """
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise LoadFailed(file, f"{error.name} is not installed: pip install 'moorage[onnxruntime]'") from error
    model = onnx.ModelProto()
    try:
        model.ParseFromString(file.read_bytes())
        if (name := _elsewhere(model)) is not None:
            raise LoadFailed(
                file,
                f"refused: the numbers of {name[:80]!r} stand in another file; an ONNX file must hold its own weights, "
                "as onnx.save(onnx.load(FILE), FILE) writes it",
            )
        model.DiscardUnknownFields()
        content = model.SerializeToString()
        del model
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = _ERROR
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # the cores have other things to do
        options.add_session_config_entry("session.load_model_format", "ONNX")  # whatever the bytes look like
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except LoadFailed:
        raise
    except Exception as error:  # onnxruntime's errors have no common class
        raise LoadFailed(file, "not an ONNX model that onnxruntime can run") from error


def _elsewhere(model: Any) -> str | None:
    """The first tensor, in whatever part of the model, whose numbers stand in another file."""
    pending = [model]
    while pending:
        message = pending.pop()
        if message.DESCRIPTOR.name == "TensorProto":
            if message.data_location or message.external_data:
                return message.name or "a constant"
            continue
        for field, value in message.ListFields():
            if field.message_type is not None:
                pending.extend([value] if hasattr(value, "DESCRIPTOR") else value)
    return None

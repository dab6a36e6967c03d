"""A class of the user's with hooks: what each is given, and where in the user's own files it fails. Called by `stages.py`.

    decode(item) -> row          in threads, several at a time
    batch(rows) -> what predict takes
    predict(batch) -> a row of results for each row
    encode(row) -> answer        in threads, several at a time

Only `predict` is needed; what stands in for the others is in `rows.py`. `setup` has been called by `imported.py`.
"""

import inspect
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from moorage_predictor.errors import InvalidInput, LoadFailed, ModelFault, MoorageError, without_paths
from moorage_predictor.tasks.custom import rows

T = TypeVar("T")

HOOKS: Final = ("decode", "batch", "encode")
"""A class with one of these beside `predict` is served row by row."""
_LONGEST_WORDS: Final = 300


class HookFailed(ModelFault):
    """A hook raised. `str` is for the caller: which hook, and where in the user's files; the cause is for the log."""

    def __init__(self, model: str, hook: str, where: str) -> None:
        at = f" at {where}" if where else ""
        super().__init__(f"the model {model} failed in {hook}{at}; the server's log has the reason")
        self.hook = hook
        self.where = where


def has_hooks(own: object) -> bool:
    """Whether this object is served row by row."""
    return any(callable(getattr(own, name, None)) for name in HOOKS)


class Hooks:
    """One object of the user's."""

    def __init__(self, own: Any, model_name: str) -> None:
        """Of an object that is set up.

        Raises:
            LoadFailed: `predict` is missing, or a hook is a coroutine.
        """
        self._own = own
        self._name = model_name
        where = f"--task {type(own).__name__}"
        found = [name for name in HOOKS if callable(getattr(own, name, None))]
        if not callable(getattr(own, "predict", None)):
            raise LoadFailed(where, f"expected predict(batch) beside {' and '.join(found)}")
        for name in ("predict", *found):
            if inspect.iscoroutinefunction(getattr(own, name)):
                raise LoadFailed(where, f"{name}: expected def, found async def: hooks run in threads")
        self.decodes = "decode" in found
        """Whether the user decodes; otherwise rows are arrays as they came."""
        self.batches = "batch" in found
        """Whether the user makes batches; otherwise rows of one form are stacked."""
        self.encodes = "encode" in found
        """Whether the user makes answers; otherwise the results are."""

    def decode(self, item: Any, name: str) -> Any:
        """A row of an item of a request. `name` is how the caller would call the item.

        Raises:
            InvalidInput: `decode` raised ValueError, which is what it has against the item.
            HookFailed: it raised something else.
        """
        if not self.decodes:
            return rows.array_of(item, name)
        try:
            return self._call("decode", lambda: self._own.decode(item))
        except HookFailed as failed:
            if isinstance(cause := failed.__cause__, ValueError):
                raise InvalidInput(f"{name}: {without_paths(str(cause))[:_LONGEST_WORDS]}") from cause
            raise

    def form(self, row: Any) -> Any:
        """What rows must have in common to share a batch; a `batch` of the user's takes any."""
        return None if self.batches else rows.form(row)

    def predict(self, batch: list[Any]) -> list[Any]:
        """A result for each row.

        Raises:
            HookFailed: `batch` or `predict` raised.
            ModelFault: the result has not one row for each.
        """
        collated = self._call("batch", lambda: self._own.batch(batch)) if self.batches else rows.collated(batch)
        return rows.apart(self._call("predict", lambda: self._own.predict(collated)), len(batch))

    def encode(self, row: Any) -> Any:
        """The answer of a result.

        Raises:
            HookFailed: `encode` raised.
        """
        return self._call("encode", lambda: self._own.encode(row)) if self.encodes else row

    def close(self) -> None:
        """After the last request; it is the user's, if there is one."""
        if callable(close := getattr(self._own, "close", None)):
            close()

    def _call(self, hook: str, call: Callable[[], T]) -> T:
        try:
            return call()
        except MoorageError:
            raise
        except BaseException as error:  # a hook that wants to end the process or its task ends its request alone
            raise HookFailed(self._name, hook, place(type(self._own), error)) from error


def place(cls: type, error: BaseException) -> str:
    """`file.py, line 12`: the innermost line of the user's own code that was being executed; "" if there is none.

    The user's own is what lies in the folder of the class, without what is installed there.
    """
    try:
        own = Path(inspect.getfile(cls)).resolve()
    except (TypeError, OSError):  # made in a shell
        return ""
    found = ""
    for frame in traceback.extract_tb(error.__traceback__):
        file = Path(frame.filename).resolve()
        if file == own or (file.is_relative_to(own.parent) and not _installed(file.relative_to(own.parent), own)):
            found = f"{file.relative_to(own.parent)}, line {frame.lineno}"
    return found


def _installed(below: Path, own: Path) -> bool:
    return "site-packages" in below.parts or own.parent.name == "site-packages"

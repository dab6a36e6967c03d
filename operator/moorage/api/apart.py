"""Work in a thread that the end of the process does not wait for: reading a file whose mount may hang, a model's load and end.
Called by `moorage.access` and the predictor.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

T = TypeVar("T")

HANGS_S: Final = 5.0
"""What takes longer than this is said to hang."""


async def apart(call: Callable[[], T], name: str, hangs: Callable[[], object] | None = None) -> T:
    """The call's result, or what it raises. It goes on when the caller has gone, but the process may end under it:
    `asyncio.to_thread`'s threads are waited for when the loop closes. `hangs` is called once if it takes long.

    Raises:
        RuntimeError: this machine has no more threads to give now.
    """
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()  # from now on nobody can cancel it

    def work() -> None:
        try:
            result = call()
        except Exception as error:  # noqa: BLE001 - handed to whoever waits
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=work, name=name, daemon=True).start()
    if hangs is None:
        return await asyncio.wrap_future(future)
    late = asyncio.get_running_loop().call_later(HANGS_S, hangs)
    try:
        return await asyncio.wrap_future(future)
    finally:
        late.cancel()

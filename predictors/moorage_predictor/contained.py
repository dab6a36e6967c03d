"""Code that is not ours, and the errors that no future takes well. Called wherever a model's own code is.

What is no `Exception` (a panic of an extension in Rust, `sys.exit()`) ends a thread or the event loop, and fails whoever
shares a batch with it. `StopIteration` fits into no future. `concurrent.futures.CancelledError` goes through one and comes
out as asyncio's, as if the caller had gone.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError
from typing import TypeVar

T = TypeVar("T")


def contained(call: Callable[[], T]) -> T:
    """Its result.

    Raises:
        Exception: what it raises.
        RuntimeError: instead of an error that no future takes well.
    """
    try:
        return call()
    except (CancelledError, StopIteration) as error:
        raise _said(error) from error
    except Exception:
        raise
    except BaseException as error:
        raise _said(error) from error


async def contained_coroutine(coroutine: Awaitable[T]) -> T:
    """The same of a coroutine. Cancelled with its caller."""
    try:
        return await coroutine
    except CancelledError as error:
        raise _said(error) from error
    except Exception:
        raise
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise  # the caller has gone
        raise _said(error) from error
    except GeneratorExit:
        raise  # the event loop has gone
    except BaseException as error:
        raise _said(error) from error


def _said(error: BaseException) -> RuntimeError:
    return RuntimeError(f"the model's code raised {type(error).__name__}")

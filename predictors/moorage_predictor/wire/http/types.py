"""ASGI's three types, as the spec has them."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Handler = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = dict[str, str]

ANSWERED_BY: Final = "moorage.task"
"""In a scope: the task that makes the answer, to be cancelled when the client goes."""
GONE: Final = "moorage.gone"
"""In a scope: the client has gone."""
SERVED: Final = "moorage.served"
"""In a scope: the version that answers, once it is settled."""

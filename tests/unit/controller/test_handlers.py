from typing import Any, cast

import pytest

from moorage.controller.credentials import Credentials
from moorage.controller.handlers import _Endless, registry


@pytest.mark.timeout(10)  # the first import of kopf
def test_kopf_gets_fresh_credentials_at_every_login() -> None:
    tokens = iter(["first", "second"])
    handlers = registry(lambda: Credentials(server="https://api", token=next(tokens)), lambda kind, body: None, 60)
    (login,) = [cast(Any, handler).fn for handler in handlers._activities._handlers if handler.id.endswith("login")]
    assert [login().token, login().token] == ["first", "second"]


def test_an_outage_of_any_length_is_waited_out() -> None:
    waits = iter(_Endless())
    assert sum(next(waits) for _ in range(1000)) > 3600

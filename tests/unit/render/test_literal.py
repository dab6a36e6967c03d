"""Users' text in arguments is data to KServe's templates and to the kubelet's variables."""

import re
from typing import Any

import pytest
from tests.builders import model_deployment

from moorage.render import render
from moorage.render.literal import literal

HOSTILE = [
    "{{.Namespace}}",
    "{{7*7}}",
    "{{{.Name}}}",
    "{% for x in y %}",
    "${jndi:ldap://x}",
    "$(HOME)",
    "$$(HOME)",
    "cost: 5$",
    "a\n- name: b",
    "!!python/object:os.system",
    "&a *a",
    "`id`",
    "$(id); touch /tmp/x",
    'it\'s a "b" \\ c',
    "a\r\nX-Header: y",
    '"}) or vector(1) #',
    "<a href=x>",
    "ends {{",
    "}} begins",
]


def by_go(text: str) -> str:
    """What text/template makes of it: an action that is a raw string is its text, and here no other may be."""

    def action(match: re.Match[str]) -> str:
        assert match[1][0] == match[1][-1] == "`", f"KServe would run {match[0]}"
        return match[1][1:-1]

    return re.sub(r"\{\{(.*?)\}\}", action, text)


def by_kubelet(text: str) -> str:
    """Kubernetes' expansion: `$$` is `$`, and no variable may be named."""
    parts = text.split("$$")
    assert not any("$(" in part for part in parts), f"the kubelet would expand {text}"
    return "$".join(parts)


@pytest.mark.parametrize("text", HOSTILE)
def test_text_comes_out_of_both_as_it_went_in(text: str) -> None:
    assert by_kubelet(by_go(literal(text))) == text


@pytest.mark.parametrize("text", HOSTILE)
def test_a_free_field_reaches_the_process_as_it_was_written(text: str) -> None:
    jwt: dict[str, Any] = {
        "issuer": "https://login.example.com/",
        "audience": text,
        "jwksUri": "https://login.example.com/keys",
        "roleClaim": text,
    }
    [runtime] = [each for each in render(model_deployment(access={"jwt": jwt})) if each["kind"] == "ServingRuntime"]
    args = [by_kubelet(by_go(word)) for word in runtime["spec"]["containers"][0]["args"]]
    assert f"--jwt-audience={text}" in args
    assert f"--jwt-role-claim={text}" in args


def test_what_has_neither_is_left_as_it_is() -> None:
    assert literal("--storage-uri=pkg://a/b?c=1") == "--storage-uri=pkg://a/b?c=1"

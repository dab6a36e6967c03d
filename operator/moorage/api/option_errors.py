"""A pydantic error of an option -> one sentence with the option's name, what is expected and what was found."""

from typing import Any, Final

from pydantic import ValidationError

_EXPECTED: Final = {
    "model_name": "at most 63 letters, digits, '.', '_' and '-', the first a letter or digit",
    "model_version": "letters, digits, '.', '_' and '-', the first and the last a letter or digit",
    "task": "image-classification, tabular, object-detection, or a class of yours as MODULE:CLASS or FILE.py:CLASS",
    "architecture": "timm/NAME, torchvision/NAME or ultralytics/NAME, for instance timm/resnet18",
    "sha256": "64 hexadecimal digits in lower case",
    "access_key_header": "the name of a header in lower case: letters, digits and '-'",
    "rate_limit_scope": "letters, digits, '.', '_', '/' and '-'",
    "otel_endpoint": "an http:// or https:// URL without user and password, for instance http://otel-collector:4318",
}
"""Of the options that have to match a regular expression, which tells people nothing."""
_UNSAID: Final = frozenset({"otel_endpoint"})
"""What was found may be a secret."""


def problems(error: ValidationError) -> list[str]:
    """All mistakes, in the order of the options."""
    return [_problem(item) for item in error.errors(include_url=False)]


def _problem(item: Any) -> str:
    name = str(item["loc"][0]) if item["loc"] else ""
    words = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "string_pattern_mismatch" and name in _EXPECTED:
        found = "something else" if name in _UNSAID else repr(str(item["input"])[:100])
        words = f"expected {_EXPECTED[name]}, found {found}"
    return f"--{name.replace('_', '-')}: {words}" if name else words

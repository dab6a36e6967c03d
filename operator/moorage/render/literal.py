"""Users' text in a place where others look for variables. Called by `runtime.py`.

KServe runs the container of a ServingRuntime through Go's text/template, where `{{.Namespace}}` is a value and `{{7*7}}` an
error that stops the service; the kubelet puts variables in place of `$(NAME)` in arguments and in variables' values. What a
user writes, for instance an audience of tokens, must reach the process as it was written.
"""


def literal(text: str) -> str:
    """`text` so that it comes out of both as it went in: `$$` is a `$` to the kubelet, a raw string is text to Go."""
    return text.replace("$", "$$").replace("{{", "{{`{{`}}")

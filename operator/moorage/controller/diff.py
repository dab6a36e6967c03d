"""Whether applying a manifest would change the live object. Pure; the reason why a quiet cluster sees no writes.

Two questions: does every field that we render have our value (others may add fields, lists items), and do we still own a
field that we no longer render (server-side apply would remove it)? The second is read from `managedFields`.
"""

import json
from typing import Any

from moorage.controller.cluster import FIELD_MANAGER, Body

_MERGE_KEYS = ("uid", "name")


def drift(desired: Body, live: Body) -> str | None:
    """The path of the first field that an apply would change, or None.

    Args:
        desired: what render() made.
        live: the object as the API server has it, with its managedFields.
    """
    return _differs(desired, live, "") or _left_over(desired, live)


def owns(fields: Body, live: Any, path: str) -> bool:
    """Whether a field manager has a field, a part of it, or a list or map around it that is owned as a whole.

    Args:
        fields: the manager's `fieldsV1`.
        live: the object.
        path: as `drift` has it.
    """
    for mark, below in fields.items():
        steps, child = _steps(mark, live)
        for step in steps:
            rest = path.removeprefix(step)
            if rest == path:
                continue
            # A name may begin with another's, and have dots where it is a label's: below a plain value there is no path.
            inside = {".": dict, "[": list}.get(rest[:1])
            whole = not below and inside is not None and isinstance(child, inside)
            if not rest or whole or owns(below, child, rest):
                return True
    return False


def admitted(desired: Any, live: Any) -> Any:
    """`desired` as admission has left it: the same fields, with the live values.

    Args:
        desired: what was applied.
        live: what the API server answered to it.
    """
    if isinstance(desired, dict) and isinstance(live, dict):
        return {key: admitted(value, live[key]) for key, value in desired.items() if key in live}
    if isinstance(desired, list):
        return live if _list_differs(desired, live, "") else desired
    return live


def _differs(desired: Any, live: Any, path: str) -> str | None:
    if desired == live:
        return None
    if isinstance(desired, dict):
        if not isinstance(live, dict):
            return path or "."
        for key, value in desired.items():
            if key not in live:
                return f"{path}.{key}"
            if value != live[key] and (found := _differs(value, live[key], f"{path}.{key}")):
                return found
        return None
    if isinstance(desired, list):
        return _list_differs(desired, live, path)
    return path


def _list_differs(desired: list[Any], live: Any, path: str) -> str | None:
    if not isinstance(live, list):
        return path
    key = _merge_key(desired)
    if key is None:
        if len(desired) != len(live):
            return path
        pairs = [(str(i), want, have) for i, (want, have) in enumerate(zip(desired, live, strict=True))]
    else:
        by_key = {item[key]: item for item in live if isinstance(item, dict) and key in item}
        pairs = [(str(want[key]), want, by_key.get(want[key])) for want in desired]
    for label, want, have in pairs:
        if found := _differs(want, have, f"{path}[{label}]"):
            return found
    return None


def _merge_key(items: list[Any]) -> str | None:
    """How the API server merges such a list: owners by uid, containers, ports, variables and volumes by name."""
    for key in _MERGE_KEYS:
        if items and all(isinstance(item, dict) and key in item for item in items):
            return key
    return None


def _steps(mark: str, live: Any) -> tuple[set[str], Any]:
    """What a mark of `fieldsV1` is called in a path of `drift`, and what is there."""
    kind, _, rest = mark.partition(":")
    if kind == "f":
        return {f".{rest}"}, live.get(rest) if isinstance(live, dict) else None
    if kind not in ("k", "v") or not isinstance(live, list):
        return set(), None
    value = json.loads(rest)
    child = _item(live, value) if kind == "k" else value
    labels = {rest, *(str(place) for place, item in enumerate(live) if item == child)}
    if isinstance(child, dict):
        labels |= {str(child[key]) for key in _MERGE_KEYS if key in child}
    return {f"[{label}]" for label in labels}, child


def _left_over(desired: Body, live: Body) -> str | None:
    for entry in live["metadata"].get("managedFields", ()):
        if entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply":
            return _owned_beyond(entry.get("fieldsV1", {}), desired, live)
    return "metadata.managedFields"


def _owned_beyond(fields: dict[str, Any], desired: Any, live: Any) -> str | None:
    """The first owned path that `desired` does not have. The notation is that of structured-merge-diff.

    The path is put together on the way back, since nearly always there is none.
    """
    for mark, below in fields.items():
        kind, _, rest = mark.partition(":")
        if kind == "f":
            if not isinstance(desired, dict) or rest not in desired:
                return f".{rest}"
            child, there = desired[rest], live.get(rest) if isinstance(live, dict) else None
        elif kind == "k":
            keys = json.loads(rest)
            child, there = _item(desired, keys), _item(live, keys)
            if child is None:
                return f"[{rest}]"
        elif kind == "v":
            if not isinstance(desired, list) or json.loads(rest) not in desired:
                return f"[{rest}]"
            continue
        else:
            continue
        further = _owned_beyond(below, child, there) if below else ("" if _longer(child, there) else None)
        if further is not None:
            return (f".{rest}" if kind == "f" else f"[{rest}]") + further
    return None


def _longer(desired: Any, live: Any) -> bool:
    """Whether a value that is owned as a whole, so that no marks lie below it, has list items that we do not render."""
    if isinstance(desired, dict) and isinstance(live, dict):
        return desired != live and any(_longer(value, live.get(key)) for key, value in desired.items())
    if isinstance(desired, list) and isinstance(live, list):
        return len(live) > len(desired) or any(map(_longer, desired, live))
    return False


def _item(items: Any, keys: dict[str, Any]) -> Any:
    """The list item with those keys; a key that is absent stands for the schema's default (protocol TCP)."""
    if not isinstance(items, list):
        return None
    return next((i for i in items if isinstance(i, dict) and all(i.get(k, v) == v for k, v in keys.items())), None)

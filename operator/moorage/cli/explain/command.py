"""`moor explain NAME`, behind its options. Called by `app.py`."""

import dataclasses
import json
from datetime import UTC, datetime
from typing import Any, Literal

from rich.console import Console

from moorage.api import ExitCode
from moorage.cli.explain.cause import Cause, cause, ready
from moorage.cli.explain.gather import Found, gather
from moorage.cli.explain.screen import picture
from moorage.cli.explain.tree import Node, tree
from moorage.cli.kube import Kube, told


def explain(name: str, namespace: str | None, output: Literal["text", "json"], console: Console) -> ExitCode:
    """Print why a model is ready or not. INTERNAL, which is 1, stands for *not ready*, as in `kubectl diff`.

    Raises:
        UserError: there is no such ModelDeployment, it may not be read, or there is no cluster.
    """
    kube = Kube()
    where, now = namespace or kube.namespace, datetime.now(UTC)
    with told(f"ModelDeployment {name}"):
        found = gather(kube, where, name)
    why = cause(found, now)
    root = tree(found, why, now)
    if output == "json":
        console.out(json.dumps(document(found, root, why), indent=2), highlight=False)
    else:
        console.print(picture(root, why, found.unread, now))
    return ExitCode.OK if ready(found.model_deployment).get("status") == "True" else ExitCode.INTERNAL


def document(found: Found, root: Node, why: Cause | None) -> dict[str, Any]:
    """For programs: `ready`, `reason`, `message`, `cause` (null if there is none) and the tree."""
    metadata, summary = found.model_deployment["metadata"], ready(found.model_deployment)
    return {
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "generation": metadata.get("generation", 0),
        "ready": summary.get("status") == "True",
        "reason": summary.get("reason", why.reason if why else ""),
        "message": summary.get("message", why.message if why else ""),
        "cause": dataclasses.asdict(why) if why else None,
        "unread": list(found.unread),
        "tree": dataclasses.asdict(root),
    }

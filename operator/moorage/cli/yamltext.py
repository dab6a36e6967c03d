"""Objects as YAML that people read: keys in their own order, no aliases, long strings unbroken."""

from collections.abc import Iterable
from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    """Writes equal parts out instead of `*id001`, and indents lists as Kubernetes' own files do."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def to_yaml(objects: Iterable[dict[str, Any]]) -> str:
    """One document an object."""
    return str(yaml.dump_all(objects, Dumper=_Dumper, sort_keys=False, width=10_000, allow_unicode=True))

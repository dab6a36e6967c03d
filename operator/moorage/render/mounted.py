"""Secrets that the kubelet mounts into the predictor's container, and that the operator never reads. Used by `rate_limits.py`
and `transport.py`.
"""

from typing import Final, NamedTuple

from moorage.render.names import Manifest

_GROUP_READS: Final = 0o440


class Mounted(NamedTuple):
    """One Secret in a pod. What else is in it stays out."""

    volume: str
    secret: str
    keys: tuple[str, ...]

    @property
    def folder(self) -> str:
        """Where it is in the container."""
        return f"/etc/moorage/{self.volume}"

    def file(self, key: str) -> str:
        """One of `keys`, in the container."""
        return f"{self.folder}/{key}"

    def as_volume(self) -> Manifest:
        """Of the pod."""
        return {
            "name": self.volume,
            "secret": {
                "secretName": self.secret,
                "defaultMode": _GROUP_READS,
                "items": [{"key": key, "path": key} for key in self.keys],
            },
        }

    def as_mount(self) -> Manifest:
        """Of the container."""
        return {"name": self.volume, "mountPath": self.folder, "readOnly": True}

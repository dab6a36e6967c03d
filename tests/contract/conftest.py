"""Fixtures of the contract tests: a real API server, a namespace per test, and KServe or its stand-in."""

from tests.control_plane.fixtures import api, control_plane, kserve, kubeconfig, namespace

__all__ = ["api", "control_plane", "kserve", "kubeconfig", "namespace"]

"""What holds for every test run: cluster tests are marked, the control plane is there before the first one, nothing
is left running, and the last line says what was skipped and what was only a stand-in.
"""

import os

import pytest

from tests.control_plane import binaries

pytest_plugins = ["tests.closing_line", "tests.golden.comparison"]


@pytest.hookimpl(tryfirst=True)  # before -m deselects by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "control_plane" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.cluster)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Build the control plane here, because a cold build is longer than any test's time limit."""
    if session.config.option.collectonly or not any(item.get_closest_marker("cluster") for item in session.items):
        return
    if os.environ.get("MOORAGE_TEST_KUBECONFIG") and not os.environ.get("KUBEBUILDER_ASSETS"):
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        try:
            binaries.find()
        except binaries.Unavailable as error:
            print(f"\n{error}")  # the fixture turns this into a skip

"""Servers from Debian packages that tests start: where the program is, and what to do where it is missing."""

import os
import shutil


def program(name: str) -> str:
    """The path of `redis-server`, `haproxy`, `prometheus` or `java`.

    Raises:
        FileNotFoundError: It is not installed; the message says how to get it.
    """
    search = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    found = shutil.which(name, path=search)
    if found is None:
        raise FileNotFoundError(
            f"expected the program {name}, found none on PATH: run tools/debian_packages.sh as root"
        )
    return found

"""Work in a thread that the end of the process does not wait for."""

import os
import subprocess
import sys
import threading

import pytest

from moorage.api import apart as threads
from moorage.api.apart import apart

FOR_EVER = """
import asyncio, sys
from moorage.api.apart import apart

async def main():
    reading = asyncio.create_task(apart(lambda: open(sys.argv[1]).read(), "reader"))
    await asyncio.sleep(0.1)
    assert not reading.done()

asyncio.run(main())
"""


async def test_its_result_and_its_error_come_back():
    assert await apart(lambda: threading.current_thread().name, "reader") == "reader"
    with pytest.raises(ZeroDivisionError):
        await apart(lambda: 1 / 0, "reader")


async def test_what_takes_long_is_told_once_and_what_does_not_never(monkeypatch):
    monkeypatch.setattr(threads, "HANGS_S", 0.0)
    told, heard = [], threading.Event()

    def hangs():
        told.append("hangs")
        heard.set()

    assert await apart(heard.wait, "reader", hangs)
    monkeypatch.setattr(threads, "HANGS_S", 60.0)
    await apart(lambda: None, "reader", hangs)
    assert told == ["hangs"]


@pytest.mark.timeout(20)
def test_a_process_ends_while_a_call_has_no_end(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    done = subprocess.run(
        [sys.executable, "-c", FOR_EVER, str(tmp_path / "pipe")], capture_output=True, text=True, timeout=15
    )
    assert (done.returncode, done.stderr) == (0, "")

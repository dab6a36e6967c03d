"""What may be read as a file of keys, a certificate or a secret: nothing that keeps its reader waiting."""

import os
import socket

import psutil
import pytest

from moorage.api import regular_file


def test_a_file_is_read_whole_or_up_to_a_size(tmp_path):
    (tmp_path / "file").write_bytes(b"0123456789")
    assert regular_file.read(tmp_path / "file") == b"0123456789"
    assert regular_file.read(str(tmp_path / "file"), 4) == b"0123"


def test_a_link_to_a_link_to_a_file_is_one_as_in_a_mounted_secret(tmp_path):
    (tmp_path / "..2026").mkdir()
    (tmp_path / "..2026" / "tls.key").write_bytes(b"key")
    (tmp_path / "..data").symlink_to("..2026")
    (tmp_path / "tls.key").symlink_to("..data/tls.key")
    assert regular_file.read(tmp_path / "tls.key") == b"key"


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("pipe", "not a regular file"),
        ("link to a device", "not a regular file"),
        ("socket", "No such device or address"),
        ("folder", "Is a directory"),
        ("nothing", "No such file or directory"),
    ],
)
def test_what_is_no_file_is_refused_at_once(what, said, tmp_path, monkeypatch):
    path = tmp_path / "file"
    with socket.socket(socket.AF_UNIX) as listener:
        if what == "pipe":
            os.mkfifo(path)
        elif what == "link to a device":
            path.symlink_to("/dev/zero")
        elif what == "socket":
            monkeypatch.chdir(tmp_path)  # the whole path is too long for a socket's name
            listener.bind("file")
        elif what == "folder":
            path.mkdir()
        before = psutil.Process().num_fds()
        with pytest.raises(OSError, match=said) as refused:
            regular_file.read(path)
        assert refused.value.strerror == said
        assert psutil.Process().num_fds() == before

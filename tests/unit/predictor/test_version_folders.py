"""Which folders are versions of models, which are left out, and what is newer than what; checksums beside them."""

import hashlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage_predictor.errors import LoadFailed
from moorage_predictor.storage import checksums
from moorage_predictor.storage.versions import scan
from moorage_predictor.wire.versions import newer


def version(root, name, label, **files):
    folder = root / name / label
    folder.mkdir(parents=True)
    for file, text in (files or {"weights": "12345"}).items():
        (folder / file).write_text(text)
    return folder


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def test_every_folder_with_files_is_a_version(root):
    version(root, "cats", "1", weights="12345", labels="a")
    version(root, "cats", "2")
    version(root, "dogs", "spring")
    found = scan(root)
    assert {name: list(versions) for name, versions in found.versions.items()} == {
        "cats": ["1", "2"],
        "dogs": ["spring"],
    }
    assert found.versions["cats"]["1"].size_bytes == 6
    assert found.left_out == {}
    assert list(scan(root, "dogs").versions) == ["dogs"]
    assert scan(root, "none").versions == {}


def test_what_does_not_fit_is_left_out_with_the_reason(root, tmp_path):
    outside = version(tmp_path, "elsewhere", "1")
    version(root, "cats", "1")
    version(root, "cats", "a b")
    version(root, "x" * 64, "1")
    (root / "cats" / "readme.txt").write_text("")
    (root / "cats" / "empty").mkdir()
    (root / "archive.tar.gz").write_text("")
    (root / "cats" / "linked").symlink_to(outside)
    (root / "linked").symlink_to(outside.parent)
    version(root, "cats", "3").joinpath("config.json").symlink_to(outside / "weights")
    os.mkfifo(version(root, "cats", "4") / "pipe")
    version(root, ".hidden", "1")
    version(root, "cats", ".copying")
    (root / "cats" / "dangling").symlink_to(root / "nothing")
    for loop in (root / "loop", root / "cats" / "loop", version(root, "cats", "5") / "loop.txt"):
        loop.symlink_to(loop.name)
    found = scan(root)
    assert {name: list(versions) for name, versions in found.versions.items()} == {"cats": ["1"]}
    expected = "expected a name of letters, digits, '.', '_' and '-', 63 at most"
    assert dict(found.left_out) == {
        "x" * 64: expected,
        "cats/a b": expected,
        "cats/readme.txt": "expected a folder",
        "cats/empty": "no files in it",
        "archive.tar.gz": "expected a folder",
        "loop": "loop is a link that leads to itself",
        "cats/loop": "loop is a link that leads to itself",
        "cats/5": "loop.txt is a link that leads to itself",
        "cats/linked": "a link that leaves the folder of models",
        "linked": "a link that leaves the folder of models",
        "cats/3": "config.json is a link that leaves the folder of models",
        "cats/4": "pipe is neither a file nor a folder",
        "cats/dangling": "no files in it",
    }


def test_links_that_stay_inside_are_followed(root):
    one = version(root, "cats", "1")
    (root / "cats" / "2").mkdir()
    (root / "cats" / "2" / "weights").symlink_to(one / "weights")
    assert scan(root).versions["cats"]["2"].size_bytes == 5


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(LoadFailed, match="none: cannot be read as a folder of models: No such file or directory"):
        scan(tmp_path / "none")


def test_any_change_of_a_file_changes_the_look(root):
    folder = version(root, "cats", "1")
    looks = []

    def look():
        looks.append(scan(root).versions["cats"]["1"].look)

    look()
    (folder / "weights").write_text("123456")
    look()
    os.utime(folder / "weights", ns=(0, 0))
    look()
    (folder / "labels").write_text("a")
    look()
    (folder / "new").write_text("123456")
    (folder / "new").rename(folder / "weights")
    look()
    assert len(set(looks)) == 5
    look()
    assert looks[-1] == looks[-2]


@pytest.mark.parametrize(
    "labels",
    [
        ["1", "2", "9", "10", "100"],
        ["1.9", "1.10", "2"],
        ["v2", "v10"],
        ["spring", "winter", "1"],
        ["beta-2", "beta-10"],
    ],
)
def test_numbers_count_as_numbers_and_come_after_other_labels(labels):
    backwards = labels[::-1]
    assert sorted(backwards, key=newer) == labels


@given(st.lists(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,12}", fullmatch=True), unique=True))
def test_any_labels_have_one_order(labels):
    backwards = labels[::-1]
    assert sorted(labels, key=newer) == sorted(backwards, key=newer)


class TestChecksums:
    def digest(self, text):
        return hashlib.sha256(text.encode()).hexdigest()

    def test_without_a_list_nothing_is_compared(self, root):
        checksums.check(version(root, "cats", "1"))

    def test_what_is_listed_must_be_so(self, root):
        folder = version(root, "cats", "1", weights="12345", labels="a")
        sums = folder / "SHA256SUMS"
        sums.write_text(f"{self.digest('12345')}  weights\n{self.digest('a').upper()} *labels\n\n")
        checksums.check(folder)
        (folder / "labels").write_text("b")
        with pytest.raises(LoadFailed, match=f"labels: sha256: expected {self.digest('a')}, found {self.digest('b')}"):
            checksums.check(folder)
        (folder / "labels").unlink()
        with pytest.raises(LoadFailed, match="labels: listed in SHA256SUMS, and not there"):
            checksums.check(folder)

    @pytest.mark.parametrize("line", ["weights", "00  weights", f"{'0' * 64}  ../weights", f"{'0' * 64}  /etc/passwd"])
    def test_a_list_that_is_none_is_refused(self, root, line):
        folder = version(root, "cats", "1")
        (folder / "SHA256SUMS").write_text(line)
        with pytest.raises(LoadFailed, match="SHA256SUMS, line 1: expected a SHA-256 and the name of a file beside it"):
            checksums.check(folder)

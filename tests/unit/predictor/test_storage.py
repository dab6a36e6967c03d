"""Which URIs are fetched, and which never are. Real downloads are in tests/e2e/predictor/test_storage.py."""

import threading

import pytest

from moorage_predictor import storage
from moorage_predictor.errors import LoadFailed, StoreUnavailable
from moorage_predictor.storage import fetcher, uris


def fetch(uri, into, model_root=None, allow_hosts=()):
    return storage.fetch(
        uri,
        into=into,
        model_root=model_root,
        allow_hosts=allow_hosts,
        report=lambda step: None,
        cancelled=threading.Event(),
    )


def test_a_file_inside_an_installed_package_is_found_without_running_its_code(tmp_path, monkeypatch):
    package = tmp_path / "shipped_model"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    (package / "model.safetensors").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert fetch("pkg://shipped_model/model.safetensors", tmp_path) == package / "model.safetensors"


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("pkg://no_such_package_here/x", "is not installed here"),
        ("pkg://json/../os.py", "without '..'"),
        ("pkg://json//etc/passwd", "inside the package"),
        ("pkg://json/absent.pth", "has no such file or folder"),
        ("pkg://json", "expected pkg://PACKAGE/PATH"),
        ("pkg://a.b/x", "expected pkg://PACKAGE/PATH"),
    ],
)
def test_other_package_paths_are_refused(tmp_path, uri, reason):
    with pytest.raises(LoadFailed, match=reason):
        fetch(uri, tmp_path)


def test_a_file_uri_works_below_the_model_root_only(tmp_path):
    root = tmp_path / "models"
    (root / "a b").mkdir(parents=True)
    (tmp_path / "secret").touch()
    (root / "link").symlink_to(tmp_path / "secret")
    assert fetch(f"file://{root}/a%20b", tmp_path, str(root)) == root / "a b"
    for uri in (
        f"file://{tmp_path}/secret",
        f"file://{root}/../secret",
        f"file://{root}/%2e%2e/secret",
        f"file://{root}/link",
        f"file://{root}/absent",
        f"file://host{root}/link",
        "file:///etc/passwd",
    ):
        with pytest.raises(LoadFailed):
            fetch(uri, tmp_path, str(root))
    with pytest.raises(LoadFailed, match="add --model-root FOLDER"):
        fetch(f"file://{root}/a%20b", tmp_path)


@pytest.mark.parametrize(
    "uri",
    [
        "https://127.0.0.1/model.pth",
        "https://[::1]/model.pth",
        "https://[::ffff:127.0.0.1]/model.pth",
        "https://169.254.169.254/model.pth",
        "https://2130706433/model.pth",
        "https://0x7f.1/model.pth",
        "https://localhost/model.pth",
        "https://localhost./model.pth",
        "https://8.8.8.8/model.pth",
        "https://user@example.org/model.pth",
        "https://user:secret@example.org/model.pth",
        "https://example.org\\@127.0.0.1/model.pth",
        "https://example.org/model.pth\r\nHost: x",
        "https://example.org/a/../model.pth",
        "https://example.org/%2e%2e/model.pth",
        "https://example.org/model.tar.gz",
        "https://example.org/model.zip",
        "https://example.org/model?file=x.zip",
        "https://example.org/repository.git/model.pth",
        "https://example.org/repository.git",
        "https://example.org/folder/",
        "https://store.blob.core.windows.net/a/model.pth",
        "https://example.org:99999/model.pth",
        "s3://",
        "s3://Bucket/x",
        "s3://bucket/a/../b",
        "s3://bucket/model.zip",
        "gs://b",
        "hf://owner",
        "hf://owner/model/more",
        "hf://../model",
        "oci://registry",
        "oci://localhost/models:1",
        "http://example.org/model.pth",
        "ftp://example.org/model.pth",
        "git://example.org/model.pth",
        "pvc://claim/model",
        "/etc/passwd",
        "",
    ],
)
def test_no_fetch_is_made_for(tmp_path, uri):
    with pytest.raises(LoadFailed) as caught:
        fetch(uri, tmp_path)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("uri", "bucket"), [("s3://b/x", "b"), ("gs://Models/x", "Models"), ("s3:///x", "")])
def test_of_a_bucket_that_cannot_be_the_rule_and_the_name_are_said(tmp_path, uri, bucket):
    with pytest.raises(LoadFailed, match=rf"a bucket of 2 to 221 characters .* letter or digit, found '{bucket}'$"):
        fetch(uri, tmp_path)


def test_of_a_volume_of_a_cluster_the_way_on_this_machine_is_said(tmp_path):
    with pytest.raises(LoadFailed, match="name a copy, as file:///PATH with --model-root"):
        fetch("pvc://claim/model", tmp_path)


def test_a_name_without_an_address_is_unavailable(tmp_path):
    with pytest.raises(StoreUnavailable, match="cannot be resolved"):
        fetch("https://models.invalid/model.pth", tmp_path)


def test_an_allowed_host_and_port_pass_and_no_other_port():
    uris.check("https://localhost:8443/model.pth", ["localhost:8443"], {})
    with pytest.raises(LoadFailed):
        uris.check("https://localhost:8444/model.pth", ["localhost:8443"], {})


def test_the_environments_endpoint_is_checked_too():
    with pytest.raises(LoadFailed, match="only host names may be fetched from"):
        uris.check("s3://bucket/model", [], {"AWS_ENDPOINT_URL": "http://127.0.0.1:9000"})
    uris.check("s3://bucket/model", ["127.0.0.1:9000"], {"AWS_ENDPOINT_URL": "http://127.0.0.1:9000"})
    with pytest.raises(LoadFailed):
        uris.check("hf://owner/model", [], {"HF_ENDPOINT": "http://localhost:9000"})


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2001:4860:4860::8888", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::", False),
    ],
)
def test_which_addresses_are_public(address, public):
    assert uris.is_public(address) is public


def test_the_watch_refuses_private_connections_and_paths_that_leave_the_folder(tmp_path):
    watch = fetcher.Watch(str(tmp_path), ["localhost:9000"])
    watch("socket.connect", (None, ("127.0.0.1", 9000)))
    watch("socket.connect", (None, ("8.8.8.8", 443)))
    watch("open", (f"{tmp_path}/model.pth", "w", 0))
    watch("open", ("/elsewhere/../cache", "w", 0))
    for address in (("127.0.0.1", 9001), ("169.254.169.254", 80), ("::1", 9001, 0, 0)):
        with pytest.raises(PermissionError, match="not a public address"):
            watch("socket.connect", (None, address))
    with pytest.raises(PermissionError, match=r"holds '\.\.'"):
        watch("open", (f"{tmp_path}/../outside", "w", 0))

"""Downloads through kserve-storage from servers on loopback, which an explicit allow-list opens.

S3 is moto's server, https a TLS server with a CA of its own; gs, hf and oci are small stand-ins.
"""

import datetime
import http.server
import ipaddress
import socket
import ssl
import threading

import boto3
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from moto.server import ThreadedMotoServer
from tests.e2e.predictor.gcs_standin import serve_bucket
from tests.e2e.predictor.hub_standin import serve_hub
from tests.e2e.predictor.registry_standin import serve_image

from moorage_predictor import storage
from moorage_predictor.errors import LoadFailed, StoreUnavailable


def fetch(uri, into, *allow_hosts, also=()):
    into.mkdir(exist_ok=True)
    return storage.fetch(
        uri,
        into=into,
        model_root=None,
        allow_hosts=allow_hosts,
        report=lambda step: None,
        cancelled=threading.Event(),
        also=also,
    )


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def s3(monkeypatch):
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    httpx.post(f"http://{host}:{port}/moto-api/reset")  # its state is the process's
    client = boto3.client("s3")
    client.create_bucket(Bucket="models")
    yield client, f"{host}:{port}"
    server.stop()


def test_a_folder_comes_from_s3_without_what_no_model_needs(s3, tmp_path):
    client, allowed = s3
    for key in (
        "cats/model.safetensors",
        "cats/config.json",
        "cats/train.py",
        "cats/deep/labels.txt",
        "dogs/model.bin",
    ):
        client.put_object(Bucket="models", Key=key, Body=key.encode())
    folder = fetch("s3://models/cats/", tmp_path / "into", allowed)
    assert names(folder) == ["config.json", "deep/labels.txt", "model.safetensors"]
    assert (folder / "model.safetensors").read_text() == "cats/model.safetensors"


def test_an_s3_server_that_is_not_allowed_is_never_asked(s3, tmp_path):
    client, _ = s3
    client.put_object(Bucket="models", Key="cats/model.safetensors", Body=b"x")
    with pytest.raises(LoadFailed, match=r"127\.0\.0\.1"):
        fetch("s3://models/cats/", tmp_path / "into")


def test_what_s3_does_not_have_is_a_failed_load(s3, tmp_path):
    with pytest.raises(LoadFailed, match="No model found"):
        fetch("s3://models/absent/", tmp_path / "into", s3[1])
    with pytest.raises(LoadFailed, match="absent"):
        fetch("s3://absent/cats/", tmp_path / "into", s3[1])


def test_a_key_with_two_dots_is_not_written_outside(s3, tmp_path):
    client, allowed = s3
    client.put_object(Bucket="models", Key="cats/../../outside.json", Body=b"{}")
    with pytest.raises(LoadFailed, match=r"holds '\.\.'"):
        fetch("s3://models/cats/", tmp_path / "into", allowed)
    assert names(tmp_path) == []


def test_an_s3_server_that_is_down_is_unavailable(s3, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("S3_MAX_ATTEMPTS", "1")
    with pytest.raises(StoreUnavailable, match="s3://models/cats/"):
        fetch("s3://models/cats/", tmp_path / "into", "127.0.0.1:9")


def certificate(folder):
    """A CA that signs itself, for localhost."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    alternatives = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "ca.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "ca.pem", folder / "key.pem"


@pytest.fixture
def https(tmp_path_factory, monkeypatch):
    """A TLS server: path -> (status, headers, body)."""
    ca, key = certificate(tmp_path_factory.mktemp("tls"))
    pages = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            status, headers, body = pages.get(self.path, (404, {}, b""))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ca, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(ca))
    yield pages, server.server_port
    server.shutdown()
    server.server_close()


OCTETS = {"Content-Type": "application/octet-stream"}


def test_a_weight_file_comes_over_https(https, tmp_path):
    pages, port = https
    pages["/cats/model.safetensors"] = (200, OCTETS, b"weights")
    folder = fetch(f"https://localhost:{port}/cats/model.safetensors", tmp_path / "into", f"localhost:{port}")
    assert names(folder) == ["model.safetensors"]
    assert (folder / "model.safetensors").read_bytes() == b"weights"


def test_a_certificate_of_an_unknown_ca_is_refused(https, tmp_path, monkeypatch):
    pages, port = https
    pages["/model.pth"] = (200, OCTETS, b"weights")
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises((LoadFailed, StoreUnavailable)):
        fetch(f"https://localhost:{port}/model.pth", tmp_path / "into", f"localhost:{port}")
    assert names(tmp_path) == []


def test_what_https_does_not_have_is_a_failed_load(https, tmp_path):
    _, port = https
    with pytest.raises(LoadFailed, match="not found"):
        fetch(f"https://localhost:{port}/model.pth", tmp_path / "into", f"localhost:{port}")


def test_a_redirect_into_the_private_network_is_refused_at_the_connection(https, tmp_path):
    pages, port = https
    hits = []

    class Inner(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            hits.append(self.path)

    inner = http.server.HTTPServer(("127.0.0.1", 0), Inner)
    threading.Thread(target=inner.serve_forever, daemon=True).start()
    location = f"http://127.0.0.1:{inner.server_port}/latest/meta-data"
    pages["/model.pth"] = (302, {"Location": location}, b"")
    with pytest.raises(LoadFailed, match="not a public address"):
        fetch(f"https://localhost:{port}/model.pth", tmp_path / "into", f"localhost:{port}")
    inner.shutdown()
    inner.server_close()
    assert hits == []


def test_a_repository_comes_from_a_hub(tmp_path, monkeypatch):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("model.safetensors", "config.json", "README.md", "model.onnx"):
        (source / name).write_text(name)
    server = serve_hub(source, "owner/cats")
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    try:
        allowed = f"127.0.0.1:{server.server_port}"
        folder = fetch("hf://owner/cats", tmp_path / "into", allowed)
        assert [name for name in names(folder) if not name.startswith(".cache")] == ["config.json", "model.safetensors"]
        more = names(fetch("hf://owner/cats", tmp_path / "more", allowed, also=("*.onnx", "*.skops")))
        assert [name for name in more if not name.startswith(".cache")] == [
            "config.json",
            "model.onnx",
            "model.safetensors",
        ]
        with pytest.raises(LoadFailed, match="hf://owner/absent"):
            fetch("hf://owner/absent", tmp_path / "other", allowed)
    finally:
        server.shutdown()
        server.server_close()


def test_a_download_that_is_no_longer_wanted_is_ended(tmp_path):
    """The listener accepts and never answers."""
    silent = socket.create_server(("127.0.0.1", 0))
    port = silent.getsockname()[1]
    cancelled = threading.Event()
    threading.Timer(0.5, cancelled.set).start()
    into = tmp_path / "into"
    into.mkdir()
    with pytest.raises(LoadFailed, match="cancelled"):
        storage.fetch(
            f"https://localhost:{port}/model.pth",
            into=into,
            model_root=None,
            allow_hosts=[f"localhost:{port}"],
            report=lambda step: None,
            cancelled=cancelled,
        )
    silent.close()


def test_a_folder_comes_from_gs(tmp_path, monkeypatch):
    objects = {"cats/model.safetensors": b"weights", "cats/config.json": b"{}", "cats/train.py": b"", "dogs/x.bin": b""}
    server = serve_bucket("models", objects)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
    try:
        folder = fetch("gs://models/cats/", tmp_path / "into", f"127.0.0.1:{server.server_port}")
        assert names(folder) == ["config.json", "model.safetensors"]
        objects["cats/../../outside.json"] = b"{}"
        with pytest.raises(LoadFailed, match=r"holds '\.\.'"):
            fetch("gs://models/cats/", tmp_path / "into2", f"127.0.0.1:{server.server_port}")
        assert not (tmp_path / "outside.json").exists()
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def registry(monkeypatch):
    servers = []

    def run(files):
        servers.append(serve_image("models/cats", files))
        return f"127.0.0.1:{servers[-1].server_port}"

    monkeypatch.setenv("KSERVE_OCI_INSECURE_REGISTRY", "true")
    yield run
    for server in servers:
        server.shutdown()
        server.server_close()


def test_the_models_folder_of_an_image_comes_from_oci(registry, tmp_path):
    host = registry({"models/model.safetensors": b"weights", "models/config.json": b"{}", "etc/passwd": b"x"})
    assert names(fetch(f"oci://{host}/models/cats:1", tmp_path / "into", host)) == ["config.json", "model.safetensors"]


def test_an_image_whose_layer_leaves_the_folder_is_refused(registry, tmp_path):
    host = registry({"models/../../outside.json": b"{}"})
    with pytest.raises(LoadFailed):
        fetch(f"oci://{host}/models/cats:1", tmp_path / "into", host)
    assert names(tmp_path) == []

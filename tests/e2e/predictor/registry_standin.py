"""A stand-in for an OCI registry. It answers the manifest and the one layer of one image that holds model files."""

import hashlib
import io
import json
import tarfile
from http.server import ThreadingHTTPServer

from tests.e2e.predictor.loopback import Handler, serve


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def serve_image(repository: str, files: dict[str, bytes]) -> ThreadingHTTPServer:
    """A running server on a free loopback port; `files` are paths in the image."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    layer, config = stream.getvalue(), b"{}"
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest_of(config),
            "size": len(config),
        },
        "layers": [
            {
                "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                "digest": digest_of(layer),
                "size": len(layer),
            }
        ],
    }
    pages = {
        f"/v2/{repository}/manifests/1": (json.dumps(manifest).encode(), manifest["mediaType"]),
        f"/v2/{repository}/blobs/{digest_of(layer)}": (layer, "application/octet-stream"),
    }

    class Registry(Handler):
        def do_GET(self) -> None:
            body, content_type = pages.get(self.path, (b"{}", "application/json"))
            self.answer(200 if self.path in pages else 404, body, Content_Type=content_type)

    return serve(Registry)

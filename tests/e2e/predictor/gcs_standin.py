"""A stand-in for Google Cloud Storage. It answers the JSON API's listing of one bucket and the download of its objects."""

import json
from http.server import ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from tests.e2e.predictor.loopback import Handler, serve


def serve_bucket(bucket: str, objects: dict[str, bytes]) -> ThreadingHTTPServer:
    """A running server on a free loopback port."""

    class Bucket(Handler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            listing, download = f"/storage/v1/b/{bucket}/o", f"/download/storage/v1/b/{bucket}/o/"
            if url.path == listing:
                prefix = parse_qs(url.query).get("prefix", [""])[0]
                items = [{"name": name, "bucket": bucket} for name in objects if name.startswith(prefix)]
                self.answer(200, json.dumps({"items": items}).encode(), Content_Type="application/json")
            elif url.path.startswith(download) and (name := unquote(url.path[len(download) :])) in objects:
                self.answer(200, objects[name], Content_Type="application/octet-stream")
            else:
                self.answer(404, b'{"error": {"code": 404, "message": "not found"}}', Content_Type="application/json")

    return serve(Bucket)

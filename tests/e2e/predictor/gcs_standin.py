"""A stand-in for Google Cloud Storage. It answers the JSON API's listing of one bucket and the download of its objects."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit


def serve_bucket(bucket: str, objects: dict[str, bytes]) -> ThreadingHTTPServer:
    """A running server on a free loopback port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            listing, download = f"/storage/v1/b/{bucket}/o", f"/download/storage/v1/b/{bucket}/o/"
            if url.path == listing:
                prefix = parse_qs(url.query).get("prefix", [""])[0]
                items = [{"name": name, "bucket": bucket} for name in objects if name.startswith(prefix)]
                self.answer(200, json.dumps({"items": items}).encode(), "application/json")
            elif url.path.startswith(download) and (name := unquote(url.path[len(download) :])) in objects:
                self.answer(200, objects[name], "application/octet-stream")
            else:
                self.answer(404, b'{"error": {"code": 404, "message": "not found"}}', "application/json")

        def answer(self, status: int, body: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server

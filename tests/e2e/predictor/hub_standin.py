"""A stand-in for a model hub. It answers the few requests that huggingface_hub makes to download one revision of one
repository: the list of files, a HEAD and a GET for each file.
"""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def serve_hub(folder: Path, repository: str) -> ThreadingHTTPServer:
    """A running server on a free loopback port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            if path.startswith(f"/api/models/{repository}/tree/"):
                listed = [
                    {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": etag(file)}
                    for file in sorted(folder.iterdir())
                ]
                self.answer(json.dumps(listed).encode(), {"Content-Type": "application/json"})
            elif path.startswith(f"/api/models/{repository}"):
                siblings = [{"rfilename": file.name} for file in sorted(folder.iterdir())]
                document = {"id": repository, "modelId": repository, "sha": COMMIT, "siblings": siblings}
                self.answer(json.dumps(document).encode(), {"Content-Type": "application/json"})
            elif path.startswith(f"/{repository}/resolve/") and (file := folder / Path(path).name).is_file():
                self.answer(file.read_bytes(), {"ETag": f'"{etag(file)}"', "X-Repo-Commit": COMMIT})
            else:
                self.send_response(404)
                self.send_header("X-Error-Code", "RepoNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()

        do_HEAD = do_GET

        def answer(self, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(200)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def etag(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()

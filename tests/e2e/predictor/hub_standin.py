"""A stand-in for a model hub. It answers the few requests that huggingface_hub makes to download one revision of one
repository: the list of files, a HEAD and a GET for each file.
"""

import hashlib
import json
from http.server import ThreadingHTTPServer
from pathlib import Path

from tests.e2e.predictor.loopback import Handler, serve

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def serve_hub(folder: Path, repository: str) -> ThreadingHTTPServer:
    """A running server on a free loopback port."""

    class Hub(Handler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            if path.startswith(f"/api/models/{repository}/tree/"):
                listed = [
                    {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": etag(file)}
                    for file in sorted(folder.iterdir())
                ]
                self.answer(200, json.dumps(listed).encode(), Content_Type="application/json")
            elif path.startswith(f"/api/models/{repository}"):
                siblings = [{"rfilename": file.name} for file in sorted(folder.iterdir())]
                document = {"id": repository, "modelId": repository, "sha": COMMIT, "siblings": siblings}
                self.answer(200, json.dumps(document).encode(), Content_Type="application/json")
            elif path.startswith(f"/{repository}/resolve/") and (file := folder / Path(path).name).is_file():
                self.answer(200, file.read_bytes(), ETag=f'"{etag(file)}"', X_Repo_Commit=COMMIT)
            else:
                self.answer(404, b"", X_Error_Code="RepoNotFound")

        do_HEAD = do_GET

    return serve(Hub)


def etag(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()

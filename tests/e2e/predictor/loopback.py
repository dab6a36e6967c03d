"""What the stand-ins share: a server on a free loopback port, quiet, whose handlers answer in one line."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """A GET (or a HEAD, which gets no body) is answered with `answer`."""

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        """Headers are given as keywords: `Content_Type="text/plain"`."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


def serve(handler: type[Handler]) -> ThreadingHTTPServer:
    """A running server; the caller shuts it down."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server

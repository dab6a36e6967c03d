"""The bare ASGI app under uvicorn."""

from bench.harness.launch import Launch, Place
from bench.protocols.payloads import v2


def launch(place: Place) -> Launch:
    argv = [str(place.python), "-m", "uvicorn", "bench.peers.bare_asgi.app:app", "--host=127.0.0.1"]
    argv += [f"--port={place.http_port}", "--loop=uvloop", "--http=httptools", "--lifespan=off", "--log-level=error"]
    argv += ["--no-access-log", f"--workers={place.point['workers']}"]
    return Launch(argv, {"tiny": v2("/")})

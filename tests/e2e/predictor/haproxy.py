"""HAProxy before several replicas, with active health checks: what endpoints and probes are in a cluster."""

import socket
import subprocess
import time
from pathlib import Path
from typing import Self

from tests.control_plane.process import free_ports
from tests.servers import program

_CONFIGURATION = """
global
  maxconn 500
  stats socket {folder}/stats mode 600 level admin
defaults
  mode http
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  retries 0
frontend clients
  bind 127.0.0.1:{port}
  default_backend replicas
backend replicas
  balance roundrobin
  option httpchk GET /v2/health/ready
  http-check expect status 200
  default-server check inter 100ms fall 1 rise 1
{servers}
"""
"""Nothing is tried twice, not even a connection: what a replica does not take is lost."""
PATIENCE_S = 60


class HaProxy:
    """One process with its own folder."""

    def __init__(self, folder: Path, ports: list[int]) -> None:
        self._folder = folder
        self._ports = ports
        (self.port,) = free_ports(1)
        servers = "\n".join(f"  server r{port} 127.0.0.1:{port}" for port in ports)
        file = folder / "haproxy.cfg"
        file.write_text(_CONFIGURATION.format(folder=folder, port=self.port, servers=servers))
        self._process = subprocess.Popen(
            [program("haproxy"), "-db", "-f", str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def wait_up(self, port: int) -> None:
        """Until it sends requests to this replica."""
        deadline = time.monotonic() + PATIENCE_S
        while f"r{port},UP" not in self._states():
            assert time.monotonic() < deadline, self._states()
            time.sleep(0.05)

    def _states(self) -> str:
        """`NAME,STATE`, line by line."""
        try:
            with socket.socket(socket.AF_UNIX) as asking:
                asking.connect(f"{self._folder}/stats")
                asking.sendall(b"show stat\n")
                said = b"".join(iter(lambda: asking.recv(65536), b"")).decode()
        except OSError:
            return ""
        rows = [line.split(",") for line in said.splitlines() if line.startswith("replicas,")]
        return "\n".join(f"{row[1]},{row[17]}" for row in rows)

"""What a server says when it cannot listen."""

import socket

import pytest

from moorage_predictor.errors import PortTaken
from moorage_predictor.wire import binding


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("nope.invalid", r"no address is known by that name \(.+\); correct --host"),
        ("192.0.2.1", "that address is not this machine's; correct --host"),
    ],
)
def test_an_address_that_is_not_ours_is_not_called_a_taken_port(host, why):
    with pytest.raises(PortTaken, match=rf"cannot listen on {host}:8080: {why}"):
        binding.bind(host, 8080, "--http-port")


def test_of_a_port_that_is_taken_the_option_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            PortTaken, match=f"127.0.0.1:{port}: the port is taken or not allowed; choose .* --grpc-port"
        ):
            binding.bind("127.0.0.1", port, "--grpc-port")

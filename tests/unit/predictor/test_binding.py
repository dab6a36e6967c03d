"""What a server says when it cannot listen."""

import errno
import gc
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
        with pytest.raises(PortTaken, match=f"127.0.0.1:{port}: the port is taken; choose another with --grpc-port"):
            binding.bind("127.0.0.1", port, "--grpc-port")


def test_a_port_that_the_user_may_not_take_is_not_called_taken():
    refused = PermissionError(errno.EACCES, "Permission denied")
    said = str(binding.not_bound("127.0.0.1", 80, "--http-port", refused))
    assert (
        said
        == "cannot listen on 127.0.0.1:80: this user may not take that port; choose one from 1024 on with --http-port"
    )


def test_an_error_without_a_number_leaves_both_reasons_open():
    said = str(binding.not_bound("127.0.0.1", 80, "--grpc-port", RuntimeError("Failed to bind")))
    assert "the port is taken or not allowed; choose another with --grpc-port" in said


@pytest.mark.filterwarnings("error")  # ResourceWarning, of a socket that nobody closed
def test_a_socket_that_cannot_share_its_port_is_closed():
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        binding.share("127.0.0.1", taken.getsockname()[1])
    gc.collect()

"""Our predictor against every case, one test a case."""

import contextlib
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
from tests.e2e.conformance.servers import ours

from moorage.cli.conformance import Case, Result, Target, cases, run_case

QUICK = [case for case in cases() if not case.slow]
WAITING = [case for case in cases() if case.slow and case.section == "robustness"]
HEAVY = [case for case in cases() if case.slow and case.section != "robustness"]
EXTENSIONS = {
    "binary_tensor_data",
    "classification",
    "logging",
    "model_configuration",
    "model_repository",
    "parameters",
    "statistics",
    "trace",
}


def named(case: Case) -> str:
    return case.id


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    server = ours(tmp_path_factory.mktemp("conformance"))
    yield server.target
    server.close()


@pytest.fixture(scope="module")
def of_one_input(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A model that declares its one input, for the cases that need such metadata."""
    server = ours(tmp_path_factory.mktemp("conformance"), "Vector")
    yield server.target
    server.close()


@pytest.fixture(scope="module")
def of_native_grpc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The other server for gRPC."""
    server = ours(tmp_path_factory.mktemp("conformance"), "Identity", "--grpc-server=native")
    yield server.target
    server.close()


def told(result: Result) -> str:
    return f"{result.case.says}\nexpected {result.expected}\nfound {result.found}"


@pytest.mark.parametrize("case", QUICK, ids=named)
def test_our_predictor_conforms(case: Case, request: pytest.FixtureRequest) -> None:
    of = "of_one_input" if case.section in ("metadata", "raw-body") else "target"
    result = run_case(case, request.getfixturevalue(of), control=True)
    assert result.outcome == "passed", told(result)


def test_the_other_grpc_server_conforms_too(of_native_grpc: Target) -> None:
    grpc_cases = [case for case in QUICK if case.section.startswith("grpc")]
    results = [run_case(case, of_native_grpc, control=True) for case in grpc_cases]
    assert len(results) > 100
    assert [told(result) for result in results if result.outcome != "passed"] == []


@pytest.mark.parametrize("case", HEAVY, ids=named)
def test_our_predictor_conforms_where_it_takes_much_memory(case: Case, target: Target) -> None:
    result = run_case(case, target, slow=True)
    assert result.outcome == "passed", told(result)


def test_our_predictor_cuts_off_whoever_stalls(target: Target) -> None:
    with ThreadPoolExecutor(len(WAITING)) as pool:
        results = list(pool.map(lambda case: run_case(case, target, slow=True), WAITING))
    assert [told(result) for result in results if result.outcome != "passed"] == []


def test_a_crowd_of_stalled_clients_keeps_nobody_from_an_answer(target: Target) -> None:
    address = ("127.0.0.1", urlsplit(target.url).port)
    head = b"POST /v2/models/identity/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n"
    with contextlib.ExitStack() as crowd:
        for number in range(300):
            client = crowd.enter_context(socket.create_connection(address, timeout=10))
            client.sendall(head if number % 2 else head + b"\r\n{")
        results = [run_case(case, target) for case in QUICK if case.section in ("health", "v2-json", "v2-binary")]
    assert [told(result) for result in results if result.outcome != "passed"] == []


def test_our_predictor_announces_what_it_has(target: Target) -> None:
    assert target.extensions >= EXTENSIONS

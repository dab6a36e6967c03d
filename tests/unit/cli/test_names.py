import pytest

from moorage.cli import names
from moorage.cli.errors import UserError

DIGEST = "@sha256:" + "0" * 64


@pytest.mark.parametrize("name", ["a", "a.b", "a-b.c--d", "0", "a" * 253])
def test_what_an_object_can_be_called_is_taken(name: str) -> None:
    assert names.object_name("NAME", name) == name


@pytest.mark.parametrize("name", ["", "a..b", "a.-b", "a-.b", ".a", "a.", "-a", "A", "a_b", "a/b", "a\n", "a" * 254])
def test_what_no_object_can_be_called_is_told(name: str) -> None:
    with pytest.raises(UserError, match=r"^NAME: expected the name of an object .*, found"):
        names.object_name("NAME", name)


@pytest.mark.parametrize(
    "reference",
    [
        "predictor",
        "predictor:1.0",
        "team/predictor:v1..2_-",
        "registry.example.com/team/predictor",
        "localhost:5000/a/b__c-d--e.f:1.0" + DIGEST,
        "Registry.example.com/predictor",
        "predictor" + DIGEST,
    ],
)
def test_every_reference_of_an_image_is_taken(reference: str) -> None:
    assert names.image("--image", reference) == reference


@pytest.mark.parametrize(
    "reference",
    [
        "",
        "a//b",
        "/a",
        "a/",
        "a..b",
        "a/b..c",
        "a/.b",
        "a/b-",
        "a:b:c",
        "a::b",
        "a:",
        "a/:b",
        "host:port/a",
        "host/Upper",
        "a b",
        "a\n",
        "a:-b",
        "a@sha256:0",
        "a" * 513,
        "a-" * 250,
    ],
)
def test_what_is_no_reference_of_an_image_is_told(reference: str) -> None:
    with pytest.raises(UserError, match=r"^--image: expected an image reference, for instance .*, found"):
        names.image("--image", reference)

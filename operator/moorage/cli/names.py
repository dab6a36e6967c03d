"""Words of the command line that become part of a URL or of a manifest: refused here if no object could be called so."""

import re
from collections.abc import Iterable

from moorage.cli.errors import UserError

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"(?=.{1,253}$)(?!.*(\.\.|-\.|\.-))[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_HOST = r"[A-Za-z0-9]+((-+|\.)[A-Za-z0-9]+)*(:[0-9]+)?"
_PART = r"[a-z0-9]+((-+|\.|__?)[a-z0-9]+)*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_IMAGE = re.compile(rf"(?=.{{1,512}}$)({_HOST}/)?{_PART}(/{_PART})*(:{_TAG})?(@sha256:[0-9a-f]{{64}})?")


def namespaces(option: str, names: Iterable[str]) -> tuple[str, ...]:
    """The names without repetitions.

    Raises:
        UserError: one cannot be a namespace's.
    """
    for name in names:
        namespace(option, name)
    return tuple(dict.fromkeys(names))


def namespace(option: str, name: str | None) -> str | None:
    """The name, if it can be a namespace's; None stays None.

    Raises:
        UserError: it cannot.
    """
    if name is not None and not _LABEL.fullmatch(name):
        raise UserError(f"{option}: expected the name of a namespace (a-z, 0-9, -), found {name!r}")
    return name


def object_name(what: str, name: str) -> str:
    """The name, if it can be an object's.

    Raises:
        UserError: it cannot.
    """
    if not _SUBDOMAIN.fullmatch(name):
        raise UserError(f"{what}: expected the name of an object (a-z, 0-9, - and .), found {name!r}")
    return name


def image(option: str, reference: str | None) -> str | None:
    """The reference, if it can be an image's; None stays None.

    Raises:
        UserError: it cannot.
    """
    if reference is not None and not _IMAGE.fullmatch(reference):
        raise UserError(
            f"{option}: expected an image reference, for instance registry.example.com/team/predictor:1.0, found {reference!r}"
        )
    return reference

"""`moor init NAME`: a file to start from. Text for people, so a template; each value goes in as a quoted string."""

from importlib.resources import files

import jinja2
import yaml

from moorage.api import check
from moorage.cli.errors import UserError


def scaffold(name: str, storage_uri: str, architecture: str | None) -> str:
    """A commented ModelDeployment as YAML.

    Raises:
        InvalidDeploymentError: a value is not what the schema wants.
    """
    if not name.isprintable():
        raise UserError("NAME: expected printable characters")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False)  # noqa: S701 - YAML
    template = environment.from_string(files("moorage.cli").joinpath("templates/model.yaml.j2").read_text())
    text = template.render(name=name, storage_uri=storage_uri, architecture=architecture)
    check(yaml.safe_load(text))
    return text

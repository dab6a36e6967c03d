"""Where spans go and with which headers: the settings, or else OpenTelemetry's own variables. Asked by `observer`."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from moorage.api import regular_file
from moorage.api.predictor import PredictorSettings
from moorage_predictor.errors import StartError

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[\x20-\x7e]*")


def endpoint(settings: PredictorSettings, env: Mapping[str, str]) -> str | None:
    """The URL that spans are sent to, if there is one."""
    if env.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    if settings.otel_endpoint is None and (whole := env.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")):
        return whole
    base = settings.otel_endpoint or env.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    return f"{base.rstrip('/')}/v1/traces" if base else None


def headers(settings: PredictorSettings) -> dict[str, str] | None:
    """What the file has, written as OTEL_EXPORTER_OTLP_HEADERS is, or None without one: then the SDK reads that variable.

    Raises:
        StartError: the file cannot be read or is written otherwise; its content is a secret and not told.
    """
    if settings.otel_headers_file is None:
        return None
    file = Path(settings.otel_headers_file)
    try:
        text = regular_file.read(file).decode()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no text"
        raise StartError(f"--otel-headers-file: {file}: cannot be read: {reason}") from error
    found = {}
    for number, part in enumerate(text.split(","), start=1):
        if not part.strip():  # as the SDK does, of a comma at the end
            continue
        name, equals, value = (unquote(each).strip() for each in part.partition("="))
        if not equals or not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise StartError(
                f"--otel-headers-file: {file}: expected NAME=VALUE,NAME=VALUE, as in OTEL_EXPORTER_OTLP_HEADERS, and found "
                f"something else in part {number}"
            )
        found[name.lower()] = value
    if not found:
        raise StartError(f"--otel-headers-file: {file}: expected NAME=VALUE,NAME=VALUE, found nothing")
    return found

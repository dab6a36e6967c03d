import json
import logging
import sys

from moorage.api.jsonlog import JsonFormatter


def formatted(message: str, *args: object, error: bool = False, **extra: object) -> dict[str, object]:
    record = logging.LogRecord("moorage.controller.engine", logging.WARNING, __file__, 1, message, args, None)
    vars(record).update(extra)
    if error:
        try:
            raise ValueError("the cause")
        except ValueError:
            record.exc_info = sys.exc_info()
    line = JsonFormatter().format(record)
    assert "\n" not in line
    parsed: dict[str, object] = json.loads(line)
    return parsed


def test_a_line_has_time_level_logger_and_message() -> None:
    line = formatted("watch of %s interrupted", "pods")
    assert str(line.pop("time")).endswith("+00:00")
    assert line == {
        "level": "warning",
        "logger": "moorage.controller.engine",
        "message": "watch of pods interrupted",
    }


def test_fields_are_members_and_anything_can_be_one() -> None:
    line = formatted("x", namespace="demo", generation=3, text="a\nb", path={1})
    assert (line["namespace"], line["generation"], line["text"], line["path"]) == ("demo", 3, "a\nb", "{1}")


def test_the_object_that_a_line_is_about_is_its_name() -> None:
    line = formatted("x", object="cats")
    assert line["name"] == "cats"
    assert "object" not in line


def test_a_traceback_is_one_string() -> None:
    assert "ValueError: the cause" in str(formatted("failed", error=True)["traceback"])

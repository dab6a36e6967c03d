import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from moorage.api import LoadProgress, PredictorSettings
from moorage.api.predictor import ready_path

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1, max_size=40)
MODEL_NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True)
VERSIONS = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", fullmatch=True)


@st.composite
def predictor_settings(draw: st.DrawFn) -> PredictorSettings:
    values = {
        "model_name": draw(MODEL_NAMES),
        "model_version": draw(VERSIONS),
        "task": "image-classification",
        draw(st.sampled_from(["model_dir", "storage_uri"])): draw(TEXT),
        "architecture": draw(st.none() | st.from_regex(r"timm/[a-z0-9][a-z0-9_.]{0,98}", fullmatch=True)),
        "model_root": draw(st.none() | TEXT),
        "storage_allow_hosts": draw(st.lists(TEXT, max_size=3).map(tuple)),
        "sha256": draw(st.none() | st.from_regex(r"[0-9a-f]{64}", fullmatch=True)),
        "host": draw(TEXT),
        "http_port": draw(st.integers(0, 65535)),
        "grpc_port": draw(st.integers(0, 65535)),
        "top_k": draw(st.integers(1, 1000)),
        "max_image_bytes": draw(st.integers(1, 10**12)),
        "max_image_side": draw(st.integers(1, 65535)),
        "shutdown_grace_s": draw(st.floats(0, 600)),
        "exit_with_parent": draw(st.booleans()),
        "log_level": draw(st.sampled_from(["debug", "info", "warning", "error"])),
        "termination_log": draw(st.none() | TEXT),
    }
    return PredictorSettings.model_validate(values)


def of(**changes: object) -> PredictorSettings:
    return PredictorSettings.model_validate(
        {"model_name": "cats", "task": "image-classification", "model_dir": "/mnt/models", **changes}
    )


@pytest.mark.timeout(20)  # many examples
@given(predictor_settings())
@settings(max_examples=60, deadline=None)
def test_what_is_rendered_is_what_is_parsed(wanted: PredictorSettings) -> None:
    assert PredictorSettings.parse(wanted.argv(), wanted.env()) == wanted


def test_every_option_is_one_word_so_that_no_value_can_become_an_option() -> None:
    rendered = of(model_dir="--help", model_root="-rf /", storage_allow_hosts=("--x", "a b:1"))
    assert "--model-dir=--help" in rendered.argv()
    assert all(word.startswith("--") and "=" in word for word in rendered.argv())
    assert PredictorSettings.parse(rendered.argv(), {}) == rendered


def test_defaults_are_left_out_of_argv_and_env() -> None:
    assert of().argv() == ["--model-name=cats", "--task=image-classification", "--model-dir=/mnt/models"]
    assert of().env() == {}


def test_the_log_level_and_the_termination_log_travel_in_the_environment() -> None:
    rendered = of(log_level="debug", termination_log="/dev/termination-log")
    assert rendered.env() == {
        "MOORAGE_LOG_LEVEL": "debug",
        "MOORAGE_TERMINATION_LOG": "/dev/termination-log",
    }
    assert rendered.argv() == of().argv()


@pytest.mark.parametrize("word", ["--model-nam=cats", "--modle-name=cats", "--log-level=debug", "cats", "--nope"])
def test_an_unknown_option_ends_with_code_2(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        PredictorSettings.parse([*of().argv(), word], {})
    assert ended.value.code == 2
    assert word in capsys.readouterr().err


@pytest.mark.parametrize(
    "changes",
    [
        {"http_port": "70000"},
        {"model_name": "../cats"},
        {"top_k": "0"},
        {"sha256": "ABC"},
        {"architecture": "resnet18"},
        {"shutdown_grace_s": "nan"},
        {"storage_uri": "s3://b/c"},  # beside model_dir
        {"model_dir": None},
        {"colour": "red"},
        {"column": ("a=number",)},  # of a table, as the next
        {"allow_unsafe_formats": "true"},
        {"task": "tabular", "medium_confidence": "0.9", "high_confidence": "0.8"},
    ],
)
def test_a_value_out_of_bounds_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        of(**changes)


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        of().top_k = 3  # type: ignore[misc]


def test_the_readiness_path_names_the_model() -> None:
    assert ready_path("cats.v2") == "/v2/models/cats.v2/ready"


@given(
    st.builds(
        LoadProgress,
        stage=st.sampled_from(["import", "fetch", "weights", "warmup", "ready"]),
        done=st.integers(0, 2**60),
        total=st.integers(0, 2**60),
        at=st.none() | st.floats(0, 1e9),
    )
)
@settings(max_examples=25, deadline=None)
def test_progress_survives_its_line(step: LoadProgress) -> None:
    assert "\n" not in step.line()
    assert LoadProgress.from_line(step.line()) == step


@pytest.mark.parametrize(
    "line",
    [
        "",
        "Traceback (most recent call last):",
        '{"level":"info","message":"loaded"}',
        '{"progress":',
        '{"progress":null}',
        '{"progress":5}',
        '{"progress":{"stage":"fetch"}}',
        '{"progress":{"stage":"fetch","done":1,"total":2,"more":3}}',
    ],
)
def test_any_other_line_is_no_progress(line: str) -> None:
    assert LoadProgress.from_line(line) is None


REPOSITORY = {"task": "image-classification", "model_repository": "/models"}


def test_a_folder_of_models_is_instead_of_one_model() -> None:
    made = PredictorSettings.model_validate({**REPOSITORY, "preload": ("cats", "dogs"), "max_models_bytes": 10})
    assert PredictorSettings.parse(made.argv(), {}) == made
    assert "--preload=cats" in made.argv()
    assert "--preload=dogs" in made.argv()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({**REPOSITORY, "model_dir": "/model"}, "expected none of --model-dir, --storage-uri and --sha256"),
        ({**REPOSITORY, "storage_uri": "pkg://a"}, "expected none of --model-dir, --storage-uri and --sha256"),
        ({**REPOSITORY, "sha256": "0" * 64}, "expected none of --model-dir, --storage-uri and --sha256"),
        ({**REPOSITORY, "workers": 2}, "expected --workers=1 with --model-repository"),
        (
            {"model_repository": None, "model_dir": "/m", "preload": ("a",)},
            "expected --model-repository with --preload",
        ),
        ({"model_repository": None, "model_dir": "/m", "repository_poll_s": 1}, "expected --model-repository with"),
    ],
)
def test_what_is_of_one_model_does_not_go_with_a_folder_of_them(values: dict[str, object], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        PredictorSettings.model_validate({**REPOSITORY, **values})

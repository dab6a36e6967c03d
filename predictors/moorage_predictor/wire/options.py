"""What one request to an image classifier asks for beside the usual, in V1's and V2's `parameters` alike. For `wire/model.py`.

| parameter                | values                 | without it                                                |
|--------------------------|------------------------|-----------------------------------------------------------|
| top_k                    | 1 to the classes       | the setting `--top-k`                                     |
| confidence_threshold     | 0 to 1                 | the setting `--confidence-threshold`                      |
| return_features          | true, false            | false                                                     |
| features                 | cls, pooled            | cls where there is a class token                          |
| normalize_features       | true, false            | false                                                     |
| return_attention         | true, false            | false                                                     |
| return_attention_overlay | true, false            | false                                                     |
| attention_layer          | an integer             | -1, the last                                              |
| attention_heads          | mean, each             | mean                                                      |
| attention_registers      | true, false            | true; false drops them and rescales the rows              |
| attention_form           | tokens, map            | tokens by tokens; map: of the class token, over the image |

V2 may as well name the outputs `features`, `attention` and `attention_overlay`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from moorage_predictor.errors import InvalidInput
from moorage_predictor.tasks.image_classification import Asked, Attention, ImageClassifier
from moorage_predictor.wire.tensor import short

FEATURES: Final = "features"
ATTENTION: Final = "attention"
OVERLAY: Final = "attention_overlay"
NAMES: Final = frozenset(
    {
        "top_k",
        "confidence_threshold",
        "return_features",
        "features",
        "normalize_features",
        "return_attention",
        "return_attention_overlay",
        "attention_layer",
        "attention_heads",
        "attention_registers",
        "attention_form",
    }
)
_Parameters = Mapping[str, Any]


def asked(
    parameters: _Parameters | None, outputs: Sequence[str], classifier: ImageClassifier, *, as_text: bool = False
) -> Asked:
    """The classifier's `usual` if it asks for nothing of that. Other parameters are not looked at. `outputs`: those that V2 names.
    `as_text`: attention weights go as JSON or the like, of which fewer may be asked for.

    Raises:
        InvalidInput: a value is none that it may have, or this model cannot give what is asked for.
    """
    headless = not classifier.num_classes
    named = any(name in (FEATURES, ATTENTION, OVERLAY) for name in outputs)
    if not named and not headless and (not parameters or NAMES.isdisjoint(parameters)):
        return classifier.usual
    given: _Parameters = parameters or {}
    if headless and (wrong := next((name for name in ("top_k", "confidence_threshold") if name in given), None)):
        raise InvalidInput(f"parameters.{wrong}: this network has no classes, only features")
    made = Asked(
        top_k=_integer(given, "top_k", 1, classifier.num_classes),
        threshold=_share(given, "confidence_threshold", classifier.usual.threshold),
        features=_features(given, classifier, FEATURES in outputs or headless),
        normalised=_flag(given, "normalize_features", False),
        attention=_attention(given, outputs, classifier, as_text),
    )
    if made.inspects:
        classifier.pass_of(made)
    return made


def _features(given: _Parameters, classifier: ImageClassifier, named: bool) -> Any:
    kind = _word(given, "features", ("cls", "pooled"), None)
    if not (_flag(given, "return_features", False) or named):
        return None
    kinds = tuple(classifier.inspect.widths) if classifier.inspect else ()
    if not kinds:
        raise InvalidInput("features: " + _not_kept(classifier, "this network has none"))
    if kind is not None and kind not in kinds:
        raise InvalidInput(f"parameters.features: expected {' or '.join(kinds)} of this network, found {kind}")
    return kind or kinds[0]


def _attention(
    given: _Parameters, outputs: Sequence[str], classifier: ImageClassifier, as_text: bool
) -> Attention | None:
    numbers = _flag(given, "return_attention", False) or ATTENTION in outputs
    overlay = _flag(given, "return_attention_overlay", False) or OVERLAY in outputs
    layer = _integer(given, "attention_layer", None, None)
    made = Attention(
        layer=-1 if layer is None else layer,
        per_head=_word(given, "attention_heads", ("mean", "each"), "mean") == "each",
        registers=_flag(given, "attention_registers", True),
        form=_word(given, "attention_form", ("tokens", "map"), "tokens"),
        numbers=numbers,
        overlay=overlay,
        as_text=as_text,
    )
    if not (numbers or overlay):
        return None
    if classifier.inspect is None or classifier.inspect.tokens is None:
        raise InvalidInput(
            "attention: " + _not_kept(classifier, "this network is no transformer that attends over all tokens")
        )
    return made


def _not_kept(classifier: ImageClassifier, otherwise: str) -> str:
    return otherwise if classifier.inspect else "this server does not give them; --features=on keeps what is needed"


def _flag(given: _Parameters, name: str, default: bool) -> bool:
    value = given.get(name, default)
    if not isinstance(value, bool):
        raise InvalidInput(f"parameters.{name}: expected true or false, found {short(value)}")
    return value


def _word(given: _Parameters, name: str, words: tuple[str, ...], default: Any) -> Any:
    value = given.get(name, default)
    if value is not default and value not in words:
        raise InvalidInput(f"parameters.{name}: expected {' or '.join(words)}, found {short(value)}")
    return value


def _integer(given: _Parameters, name: str, low: int | None, high: int | None) -> int | None:
    value = given.get(name)
    if value is None:
        return None
    if type(value) is not int or (low is not None and value < low) or (high is not None and value > high):
        bounds = "an integer" if low is None else f"an integer from {low} to {high}"
        raise InvalidInput(f"parameters.{name}: expected {bounds}, found {short(value)}")
    return value


def _share(given: _Parameters, name: str, default: float) -> float:
    value = given.get(name, default)
    if type(value) not in (int, float) or not 0 <= value <= 1:
        raise InvalidInput(f"parameters.{name}: expected a number from 0 to 1, found {short(value)}")
    return float(value)

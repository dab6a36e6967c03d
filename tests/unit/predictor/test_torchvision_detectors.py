"""torchvision's detectors behind the task: the boxes are torchvision's own, whatever a request asks and whoever shares its pass."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tests.unit.predictor.detectors import NAMES, save_weights, torchvision_model

from moorage_predictor.errors import ImageInvalid, LoadFailed
from moorage_predictor.tasks.image_classification import Limits
from moorage_predictor.tasks.object_detection import Detector, Options, torchvision_detectors
from moorage_predictor.tasks.object_detection.config import DetectionConfig

SMALL = {"min_size": 128, "max_size": 192}
FAMILIES = {
    "fasterrcnn_mobilenet_v3_large_320_fpn": SMALL,
    "fasterrcnn_resnet50_fpn_v2": {"min_size": 64, "max_size": 96},
    "retinanet_resnet50_fpn": SMALL,
    "retinanet_resnet50_fpn_v2": SMALL,
    "fcos_resnet50_fpn": SMALL,
    "ssd300_vgg16": {},
    "ssdlite320_mobilenet_v3_large": {},
}
LITE = "ssdlite320_mobilenet_v3_large"


@pytest.fixture(scope="module")
def cats(request):
    folder = request.path.parents[2] / "data" / "photos"
    return [np.array(Image.open(folder / name).convert("RGB")) for name in ("chelsea.png", "coffee.png", "rocket.jpg")]


@pytest.fixture(scope="module")
def lite(tmp_path_factory):
    """The model as torchvision runs it, and its weights."""
    model = torchvision_model(LITE)
    return model, save_weights(model, tmp_path_factory.mktemp("lite"))


def loaded(name, file, **config):
    given = DetectionConfig.model_validate(config)
    return torchvision_detectors.load(name, load_file(file), file, given)


def theirs(model, pixels, confidence, iou, most):
    thresholds = model.roi_heads if hasattr(model, "roi_heads") else model
    thresholds.score_thresh, thresholds.nms_thresh, thresholds.detections_per_img = confidence, iou, most
    torch.set_num_threads(1)  # as ours: another order of additions picks other boxes among those of equal score
    with torch.inference_mode():
        found = model([torch.from_numpy(pixels).permute(2, 0, 1).float() / 255])[0]
    return {key: value.numpy() for key, value in found.items()}


def ours(network, pixels, options):
    return network.forward([(network.prepare(pixels), options)], 1)[0]


def assert_equal(found, expected, offset=1):
    assert len(found) == len(expected["scores"])
    assert found.scores == pytest.approx(expected["scores"], abs=1e-6)
    assert found.boxes == pytest.approx(expected["boxes"], abs=1e-3)
    assert np.array_equal(found.class_id, expected["labels"] - offset)


@pytest.mark.parametrize("name", FAMILIES)
def test_boxes_are_those_that_torchvision_gives(name, tmp_path, cats):
    model = torchvision_model(name, **FAMILIES[name])
    network = loaded(name, save_weights(model, tmp_path), **FAMILIES[name])
    offset = 0 if name.startswith(("retinanet", "fcos")) else 1
    for confidence, iou, most in ((0.05, 0.5, 50), (0.4, 0.2, 5)):
        expected = theirs(model, cats[0], confidence, iou, most)
        assert_equal(ours(network, cats[0], Options(confidence, iou, most)), expected, offset)
    assert len(theirs(model, cats[0], 0.05, 0.5, 50)["scores"]) > 5


def test_every_detector_of_the_table_is_torchvisions():
    import torchvision.models

    known = set(torchvision.models.list_models(torchvision.models.detection))
    assert set(torchvision_detectors.DETECTORS) == {
        name for name in known if "mask" not in name and "keypoint" not in name
    }


def test_classes_are_chosen_before_they_are_counted(lite, cats):
    model, file = lite
    network = loaded(LITE, file)
    every = theirs(model, cats[0], 0.05, 0.5, 10**6)
    for number in range(3):
        of_class = every["scores"][every["labels"] == number + 1]
        found = ours(network, cats[0], Options(0.05, 0.5, 3, frozenset({number})))
        assert set(found.class_id.tolist()) <= {number}
        assert found.scores == pytest.approx(of_class[:3], abs=1e-6)


def test_requests_with_other_thresholds_at_the_same_time_do_not_disturb_each_other(lite, cats):
    model, file = lite
    network = loaded(LITE, file)
    asked = [Options(confidence, iou, most) for confidence in (0.05, 0.3) for iou in (0.3, 0.6) for most in (2, 40)]
    expected = [theirs(model, cats[0], one.confidence, one.iou, one.max_detections) for one in asked]
    prepared = network.prepare(cats[0])
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda one: network.forward([(prepared, one)], 1)[0], asked * 4))
    for answer, one in zip(answers, expected * 4, strict=True):
        assert_equal(answer, one)


def test_pictures_share_a_pass_only_where_that_changes_nothing(lite, cats, tmp_path):
    network = loaded(LITE, lite[1])
    options = Options(0.05, 0.5, 20)
    prepared = [network.prepare(one) for one in cats]
    assert len({network.key(one, options) for one in prepared}) == 1  # SSD makes all of one size
    alone = [network.forward([(one, options)], 1)[0] for one in prepared]
    together = network.forward([(one, options) for one in prepared], 1)
    for one, other in zip(alone, together, strict=True):
        assert one.size == other.size
        assert one.scores == pytest.approx(other.scores, abs=1e-5)
        assert one.boxes == pytest.approx(other.boxes, abs=1e-2)
    assert network.key(prepared[0], options) != network.key(prepared[0], Options(0.06, 0.5, 20))
    rcnn = "fasterrcnn_mobilenet_v3_large_320_fpn"
    other = loaded(rcnn, save_weights(torchvision_model(rcnn), tmp_path))
    turned = np.ascontiguousarray(cats[0].transpose(1, 0, 2))
    keys = {other.key(other.prepare(one), options) for one in (cats[0], cats[0][:, ::-1].copy(), turned, cats[1])}
    assert len(keys) == 3


def test_boxes_lie_within_the_picture(lite):
    network = loaded(LITE, lite[1])
    detector = Detector(network, Options(0.01), Limits(10**6, 4096))
    for height, width in ((40, 700), (2, 3), (900, 64)):
        pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        found = detector.forward([(network.prepare(pixels), detector.options)], 1)[0]
        assert found.size == (height, width)
        assert (found.boxes >= 0).all()
        assert (found.boxes[:, 2] <= width).all()
        assert (found.boxes[:, 3] <= height).all()


def test_a_picture_too_narrow_to_be_resized_is_refused_and_the_next_wider_one_is_not(tmp_path):
    for name in ("fasterrcnn_mobilenet_v3_large_320_fpn", "retinanet_resnet50_fpn"):
        network = loaded(name, save_weights(torchvision_model(name), tmp_path), **SMALL)
        for size in ((2, 385), (385, 2)):
            with pytest.raises(ImageInvalid, match=rf"192 times the shorter one, found {size[1]}x{size[0]}: nothing"):
                network.prepare(np.zeros((*size, 3), np.uint8))
        for size in ((2, 384), (384, 2)):
            assert ours(network, np.zeros((*size, 3), np.uint8), Options()).size == size


def test_class_names_come_from_beside_the_weights_and_leave_the_background_out(lite, tmp_path):
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(lite[1].read_bytes())
    assert loaded(LITE, weights).names == ("class_0", "class_1", "class_2")
    for lines in (NAMES, ("__background__", *NAMES)):
        (tmp_path / "labels.txt").write_text("\n".join(lines) + "\n")
        assert loaded(LITE, weights).names == NAMES
    assert loaded(LITE, weights, label_names=("a", "b", "c")).names == ("a", "b", "c")
    (tmp_path / "labels.txt").write_text("one\n")
    with pytest.raises(LoadFailed, match=r"labels\.txt: expected 3 class names and the background, found 1$"):
        loaded(LITE, weights)


def test_ninety_one_classes_are_cocos(tmp_path):
    file = save_weights(torchvision_model(LITE, classes=91), tmp_path)
    network = loaded(LITE, file)
    assert (len(network.names), network.names[0], network.names[16]) == (90, "person", "cat")


def test_weights_that_do_not_fit_are_told_by_name(lite, tmp_path):
    tensors = load_file(lite[1])
    first = next(key for key in tensors if key.startswith("backbone") and tensors[key].dim() == 4)
    cases = {
        f"missing: {first}; unexpected: none": {key: value for key, value in tensors.items() if key != first},
        "missing: none; unexpected: extra": {**tensors, "extra": torch.zeros(1)},
        f"size mismatch for {first}": {**tensors, first: torch.zeros(1, 1, 1, 1)},
        f"{first} contains NaN": {**tensors, first: tensors[first] * float("nan")},
        "which tells the number of classes": {"x": torch.zeros(1)},
    }
    for words, changed in cases.items():
        save_file(changed, tmp_path / "model.safetensors")
        with pytest.raises(LoadFailed) as failed:
            loaded(LITE, tmp_path / "model.safetensors")
        assert words in str(failed.value)


def test_a_detector_that_torchvision_has_not_is_refused_with_those_it_has(lite):
    with pytest.raises(LoadFailed, match=r"^torchvision/yolo: expected one of torchvision/fasterrcnn_resnet50_fpn, "):
        loaded("yolo", lite[1])


def test_names_of_older_versions_of_torchvision_are_understood(tmp_path, cats):
    """Their weights for COCO are of 2019, when the feature pyramid's layers had other names."""
    name = "fasterrcnn_mobilenet_v3_large_320_fpn"
    model = torchvision_model(name)
    tensors = load_file(save_weights(model, tmp_path))
    old = {
        key.replace(".0.0.", ".0.").replace(".1.0.", ".1.") if "fpn.inner" in key or "fpn.layer" in key else key: value
        for key, value in tensors.items()
    }
    assert set(old) != set(tensors)
    save_file(old, tmp_path / "old.safetensors")
    network = loaded(name, tmp_path / "old.safetensors")
    assert_equal(ours(network, cats[0], Options(0.05, 0.5, 10)), theirs(model, cats[0], 0.05, 0.5, 10))

"""timm without its `__init__` files, beside timm in full."""

import json
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.unit.predictor.timm_in_full import described

from moorage_predictor.engine import architectures

ROOT = Path(__file__).parents[3]
FAMILIES = dict(
    line.split()
    for line in (ROOT / "tests" / "data" / "timm_families.txt").read_text().splitlines()
    if not line.startswith("#")
)
BUILT = [name for name in FAMILIES.values() if name != "-"]
LEAN = "moorage_predictor.engine.lean_timm"


@pytest.fixture(scope="module")
def in_full():
    command = [sys.executable, "-m", "tests.unit.predictor.timm_in_full", *BUILT]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        yield lambda: json.loads(process.communicate(timeout=280)[0])


@pytest.fixture(scope="module")
def ours(in_full):
    """Built while the other process does the same."""
    built = {}
    for name in BUILT:
        module = architectures.build(name, 7)
        built[name] = described(module, architectures.data_config(module.pretrained_cfg))
    return built


def run(code):
    """The last line that a fresh interpreter prints for this code, and what it logs."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1], done.stderr


@pytest.mark.timeout(300)  # 64 networks, built twice: seconds on idle cores, minutes on busy ones
def test_every_name_and_every_family_is_what_the_full_import_gives(ours, in_full):
    theirs = in_full()
    assert architectures._files() == theirs["files"]
    assert set(FAMILIES) == set(theirs["files"].values()), "tests/data/timm_families.txt is of another version of timm"
    assert len(BUILT) > 50
    for name in BUILT:
        assert ours[name] == theirs["built"][name], name


def test_an_architecture_is_built_without_torchvision_or_the_rest_of_timm():
    found, _ = run("""
        import sys
        from moorage_predictor.engine import architectures
        for name in ("resnet18.a1_in1k", "vit_small_patch16_224", "convnext_tiny"):
            assert architectures.exists(name)
            architectures.build(name, 10)
        architectures.imagenet_names(1000)
        print([name for name in sys.modules
               if name.split(".")[0] in ("timm", "torchvision", "huggingface_hub", "sympy", "PIL")])
    """)
    assert found == "[]"


@pytest.mark.parametrize("order", ["ours first", "timm first"])
def test_who_imports_timm_and_torchvision_gets_the_real_ones(order):
    imports = ["import timm, torchvision", "from moorage_predictor.engine import architectures as ours"]
    found, _ = run(f"""
        {"; ".join(imports[::-1] if order == "ours first" else imports)}
        lean = ours.build("resnet18", 10)
        import timm, torchvision
        from timm.data import create_transform
        from timm.layers.norm_act import FrozenBatchNorm2d
        assert FrozenBatchNorm2d is torchvision.ops.misc.FrozenBatchNorm2d
        assert timm.models._hub.has_hf_hub() and timm.layers._fx.has_fx_feature_extraction
        assert type(timm.create_model("resnet18")).__module__ == "timm.models.resnet"
        assert len(timm.list_models()) > 1000
        print(type(lean).__module__)
    """)
    assert found == f"{LEAN}.models.resnet"


@pytest.mark.parametrize(
    "fault",
    [
        "from moorage_predictor.engine import lean_timm; lean_timm._Loader.exec_module = lambda *_: 1 / 0",
        "architectures._files = dict",
    ],
    ids=["no file imports", "the name is not found"],
)
def test_where_it_fails_the_full_import_serves_and_one_line_says_so(fault):
    found, log = run(f"""
        import logging
        logging.basicConfig(format="%(message)s")
        from moorage_predictor.engine import architectures
        {fault}
        assert architectures.exists("resnet18")
        architectures.data_config({{"mean": (0, 0, 0)}})
        architectures.build("vit_tiny_patch16_224", 10)
        print(type(architectures.build("resnet18", 10)).__module__)
    """)
    assert found == "timm.models.resnet"
    assert log.count("importing all of timm") == 1


def test_a_module_can_be_pickled_and_compiled_as_any_other():
    found, _ = run("""
        import pickle, torch
        from moorage_predictor.engine import architectures
        module = architectures.build("test_resnet", 10).eval()
        module.load_state_dict({key: torch.rand_like(value) if value.is_floating_point() else value
                                for key, value in module.state_dict().items()})
        batch = torch.rand(2, 3, 64, 64)
        with torch.inference_mode():
            expected = module(batch)
            assert torch.equal(pickle.loads(pickle.dumps(module))(batch), expected)
            assert torch.allclose(torch.compile(module, backend="eager", fullgraph=True)(batch), expected)
        import sys
        print("timm" in sys.modules)
    """)
    assert found == "False"


def test_threads_may_build_at_once():
    found, _ = run("""
        import warnings
        from concurrent.futures import ThreadPoolExecutor
        from moorage_predictor.engine import architectures
        warnings.simplefilter("error")
        names = ["test_resnet", "test_vit", "test_convnext", "test_efficientnet"] * 4
        with ThreadPoolExecutor(8) as pool:
            built = list(pool.map(lambda name: architectures.build(name, 10), names))
        print(sorted({type(module).__name__ for module in built}))
    """)
    assert found == "['ConvNeXt', 'EfficientNet', 'ResNet', 'VisionTransformer']"


def test_parameters_are_left_alone_in_the_building_thread_only():
    import torch

    def build_elsewhere():
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(torch.nn.init.ones_, torch.nn.Parameter(torch.zeros(3))).result()

    from moorage_predictor.engine.uninitialised import Uninitialised

    with Uninitialised():
        assert torch.nn.init.ones_(torch.nn.Parameter(torch.zeros(3))).tolist() == [0, 0, 0]
        assert torch.nn.Parameter(torch.zeros(3)).data.fill_(1).tolist() == [1, 1, 1]
        assert torch.zeros(3).fill_(1).tolist() == [1, 1, 1]
        assert build_elsewhere().tolist() == [1, 1, 1]
    assert torch.nn.init.ones_(torch.nn.Parameter(torch.zeros(3))).tolist() == [1, 1, 1]


def test_an_unknown_tag_is_said_to_be_one():
    with pytest.raises(RuntimeError, match="Invalid pretrained tag"):
        architectures.pretrained_cfg("resnet18.nonsense")
    assert architectures.pretrained_cfg("resnet18.a1_in1k").tag == "a1_in1k"

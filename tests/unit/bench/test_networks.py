"""The bench's networks are timm's, so that the peers compute what our predictor computes."""

import pytest

pytestmark = pytest.mark.timeout(60, func_only=True)


@pytest.mark.parametrize("architecture", ["resnet18", "vit_small_patch16_224"])
def test_a_network_gives_what_timms_gives_from_the_same_weights(architecture: str) -> None:
    import timm
    import torch
    from bench.models.images import networks

    theirs = timm.create_model(architecture, num_classes=10).eval()
    ours = networks.empty(architecture, 10)
    ours.load_state_dict(theirs.state_dict(), assign=True)
    batch = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(ours(batch), theirs(batch), rtol=1e-5, atol=1e-6)

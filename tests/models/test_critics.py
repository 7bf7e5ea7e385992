import pytest
import torch

from facesr.errors import ParamsError
from facesr.models import build

FASTAI = {"kind": "patch_critic", "features": 128, "blocks": 3, "dropout": 0.15}
UNET = {"kind": "unet_critic", "features": 64}
GLOBAL = {"kind": "global_critic", "features": 64, "side": 128}
SMALL = [{**FASTAI, "features": 8}, {**UNET, "features": 4}, {**GLOBAL, "features": 4, "side": 16}]


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("side", "patches"), [(64, 1), (96, 9), (128, 25)])
def test_the_patch_critic_gives_one_logit_for_each_patch(side, patches):
    critic = build({**FASTAI, "features": 8})
    assert critic(torch.rand(2, 3, side, side)).shape == (2, patches)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 30)])
def test_the_unet_critic_gives_one_logit_for_each_pixel(height, width):
    critic = build({**UNET, "features": 4})
    assert critic(torch.rand(2, 3, height, width)).shape == (2, height * width)


@pytest.mark.parametrize("side", [8, 16, 64])
def test_the_global_critic_gives_one_logit_for_an_image_of_any_size(side):
    critic = build({**GLOBAL, "features": 4, "side": side})
    assert critic(torch.rand(2, 3, 40, 56)).shape == (2, 1)


@pytest.mark.parametrize("side", [4, 24])
def test_a_global_critic_of_an_odd_side_is_refused(side):
    with pytest.raises(ParamsError, match=f"must be 8, 16, 32, ..., not {side}"):
        build({**GLOBAL, "side": side})


@pytest.mark.parametrize(
    ("architecture", "parameters"), [(FASTAI, 44_705_665), (UNET, 4_376_897), (GLOBAL, 6_959_553)]
)
def test_the_critics_have_the_parameters_that_their_papers_count(architecture, parameters):
    assert count(build(architecture)) == parameters


@pytest.mark.parametrize("architecture", SMALL, ids=lambda one: one["kind"])
def test_a_critic_gives_the_features_that_its_logits_come_from(architecture):
    critic = build(architecture).eval()
    x = torch.rand(1, 3, 64, 64, requires_grad=True)
    judgement = critic.forward_with_features(x)
    assert torch.equal(judgement.logits, critic(x))
    assert len(judgement.features) >= 2
    for features in judgement.features:
        assert features.ndim == 4
        (gradient,) = torch.autograd.grad(features.sum(), x, retain_graph=True)
        assert gradient.abs().sum() > 0


@pytest.mark.parametrize("architecture", SMALL[1:], ids=lambda one: one["kind"])
def test_spectral_norm_bounds_what_a_layer_can_amplify(architecture):
    critic = build(architecture)
    layer = (critic.downs if architecture["kind"] == "unet_critic" else critic.layers)[0]
    with torch.no_grad():
        layer.parametrizations.weight.original.mul_(100)
        for _ in range(20):
            critic(torch.rand(1, 3, 16, 16))
    largest = torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2)
    assert largest.item() == pytest.approx(1, rel=0.02)


def test_the_unet_critics_skips_carry_the_fine_grid():
    critic = build({**UNET, "features": 4}).eval()
    for up in critic.ups:
        torch.nn.init.zeros_(up.parametrizations.weight.original)
        up.parametrizations.weight[0]._u.zero_()
    x = torch.rand(1, 3, 16, 16)
    moved = x.clone()
    moved[..., 5, 5] += 0.5
    difference = (critic(moved) - critic(x)).reshape(16, 16)
    assert difference[5, 5] != 0

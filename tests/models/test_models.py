from urllib.error import URLError

import pytest
import torch
from fastai.vision.learner import create_unet_model
from fastai.vision.models.unet import ResizeToOrig, UnetBlock
from torch import nn
from torch.nn import functional as F
from torchvision import models as zoo
from torchvision.ops import FrozenBatchNorm2d

from facesr.errors import CheckpointError, ParamsError
from facesr.models import build, encoders, imagenet

RESIDUAL = {
    "kind": "residual_unet",
    "backbone": "resnet18",
    "pretrained": False,
    "width": 8,
    "levels": 2,
    "decoder_blocks": 1,
    "body_blocks": 1,
    "unshuffle": 1,
    "head": "direct",
    "scale": 4,
}
BEST = {
    **RESIDUAL,
    "backbone": "resnet34",
    "width": 64,
    "levels": 4,
    "decoder_blocks": 2,
    "body_blocks": 16,
    "head": "stepwise",
}
PAPER = {
    "kind": "fastai_unet",
    "backbone": "resnet34",
    "pretrained": False,
    "self_attention": True,
    "scale": 1,
}
PAPER_UPSAMPLER = {**PAPER, "backbone": "vgg16_bn", "self_attention": False, "scale": 4}


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def image(height=24, width=24, seed=0):
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("backbone", encoders.LEVELS)
@pytest.mark.parametrize("scale", [1, 2, 4, 8])
@pytest.mark.parametrize("head", ["direct", "stepwise"])
def test_an_untrained_residual_unet_is_bicubic_enlargement_exactly(backbone, scale, head):
    network = build({**RESIDUAL, "backbone": backbone, "scale": scale, "head": head})
    x = image(17, 22)
    expected = x if scale == 1 else F.interpolate(x, scale_factor=scale, mode="bicubic")
    assert torch.equal(network(x), expected)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 31), (16, 16)])
def test_a_residual_unet_takes_any_size(height, width):
    network = build({**RESIDUAL, "levels": 3, "unshuffle": 4, "scale": 2})
    assert network(image(height, width)).shape == (1, 3, 2 * height, 2 * width)


def test_the_input_reaches_the_output_through_the_encoder():
    network = build(RESIDUAL)
    nn.init.normal_(network.head[-2].weight, std=0.1)
    x = image()
    network(x).square().sum().backward()
    assert network.encoder.stages[0][0].weight.grad.abs().sum() > 0
    assert network.encoder.stages[-1][0].conv2.weight.grad.abs().sum() > 0


def test_the_networks_have_the_parameters_that_the_design_counts():
    assert count(build(BEST)) == 32_179_907
    assert count(build(PAPER)) == 41_413_534


@pytest.mark.parametrize(
    ("backbone", "skips"),
    [
        ("resnet18", 4),
        ("resnet34", 4),
        pytest.param("resnet50", 4, marks=pytest.mark.slow),  # 342 million parameters
        ("vgg16_bn", 5),
        ("convnext_tiny", 3),
    ],
)
def test_every_backbone_gives_fastais_unet_its_skips(backbone, skips):
    network = build({**PAPER, "backbone": backbone, "self_attention": False}).eval()
    assert network.skips == skips
    blocks = [one for one in network.unet.layers if isinstance(one, UnetBlock)]
    assert len(blocks) == skips
    with torch.no_grad():
        assert network(image(40, 33)).shape == (1, 3, 40, 33)


def test_no_step_of_a_convnext_unet_is_left_to_nearest_neighbour():
    network = build({**PAPER, "backbone": "convnext_tiny", "self_attention": False}).eval()
    position = next(i for i, m in enumerate(network.unet.layers) if isinstance(m, ResizeToOrig))
    shapes = []
    network.unet.layers[position - 1].register_forward_hook(
        lambda module, x, y: shapes.append(tuple(y.shape[-2:]))
    )
    with torch.no_grad():
        network(image(64, 96))
    assert shapes == [(64, 96)]


@pytest.mark.parametrize(
    ("backbone", "levels", "parameters"),
    [
        ("resnet18", 4, 301_696),
        ("resnet34", 4, 459_520),
        ("resnet50", 4, 2_309_368),
        ("vgg16_bn", 5, 578_104),
        ("convnext_tiny", 4, 350_064),
    ],
)
def test_every_backbone_gives_the_residual_unet_four_skips_that_are_used(
    backbone, levels, parameters
):
    network = build({**RESIDUAL, "backbone": backbone, "levels": levels})
    assert count(network) == parameters
    assert network.skips == len(network.encoder.strides) - 1 == 4
    nn.init.normal_(network.head[-2].weight, std=0.1)
    features = []
    for stage in network.encoder.stages:
        stage.register_forward_hook(lambda module, x, y: features.append(y))
    y = network(image(32, 32)).square().sum()
    # Cut from the coarser stages, each finer one still reaches the output: by its skip.
    cut = [one.detach().requires_grad_() for one in features]
    network.encoder.forward = lambda z: list(cut)
    assert torch.allclose(network(image(32, 32)).square().sum(), y)
    network(image(32, 32)).square().sum().backward()
    assert all(one.grad.abs().sum() > 0 for one in cut)


@pytest.mark.parametrize("kind", [RESIDUAL, PAPER])
def test_an_unknown_backbone_is_one_line_that_lists_the_known_ones(kind):
    with pytest.raises(ParamsError, match="no backbone 'resnet19'.*resnet18, resnet34") as error:
        build({**kind, "backbone": "resnet19"})
    assert "\n" not in str(error.value)


def test_fastais_unet_keeps_no_skip_after_a_pass_not_even_one_that_failed():
    network = build({**PAPER, "backbone": "resnet18"}).eval()
    x = torch.rand(1, 3, 16, 16)
    network(x)
    assert [hook.stored for hook in network.unet.sfs] == [None] * network.skips

    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    network.unet.layers[-1].register_forward_hook(fail)
    with pytest.raises(torch.OutOfMemoryError):
        network(x)
    assert [hook.stored for hook in network.unet.sfs] == [None] * network.skips


def test_fastais_default_cut_of_vgg16_has_no_skip_at_all():
    assert len(create_unet_model(zoo.vgg16_bn, 3, (64, 64), pretrained=False).sfs) == 0


@pytest.mark.parametrize(("architecture", "scale"), [(PAPER, 1), (PAPER_UPSAMPLER, 4)])
def test_the_studys_networks_take_sizes_that_are_no_multiple_of_32(architecture, scale):
    network = build(architecture).eval()
    with torch.no_grad():
        y = network(image(9, 13))
    assert y.shape == (1, 3, 9 * scale, 13 * scale)
    assert type(y) is torch.Tensor


def test_the_studys_networks_keep_colours_in_the_range_of_an_image():
    network = build(PAPER).eval()
    with torch.no_grad():
        y = network(image(32, 32))
    # (-3, 3) on the ImageNet scale, for red.
    assert y[:, 0].min() >= 0.485 - 3 * 0.229
    assert y[:, 0].max() <= 0.485 + 3 * 0.229


@pytest.mark.parametrize(
    ("backbone", "levels", "layer", "stage"),
    [
        ("resnet34", 4, "layer3", 3),
        ("resnet50", 4, "layer3", 3),
        ("vgg16", 5, "features.5", 1),
        ("vgg16_bn", 5, "features.7", 1),
        ("convnext_tiny", 4, "features.1.0", 1),
        ("convnext_tiny", 4, "features.6", 4),
    ],
)
def test_pretrained_weights_reach_the_encoder(monkeypatch, backbone, levels, layer, stage):
    source = zoo.get_model(backbone, weights=None)
    monkeypatch.setattr(encoders, "load_backbone", lambda name: source)
    width = encoders.ZOO_WIDTHS[backbone]
    architecture = {**RESIDUAL, "backbone": backbone, "width": width, "levels": levels}
    network = build({**architecture, "pretrained": True}, fetch=True)
    theirs = next(source.get_submodule(layer).parameters())
    ours = [p for p in network.encoder.stages[stage].parameters() if p.shape == theirs.shape]
    assert any(torch.equal(theirs, p) for p in ours)


def test_a_pretrained_encoder_keeps_its_statistics_while_it_trains(monkeypatch):
    monkeypatch.setattr(encoders, "load_backbone", lambda name: zoo.resnet18(weights=None))
    network = build({**RESIDUAL, "width": 64, "pretrained": True}, fetch=True).train()
    norms = [m for m in network.modules() if isinstance(m, FrozenBatchNorm2d)]
    before = [norm.running_mean.clone() for norm in norms]
    network(image())
    assert norms
    assert all(torch.equal(a, n.running_mean) for a, n in zip(before, norms, strict=True))
    assert not any(isinstance(m, nn.BatchNorm2d) for m in network.modules())


def test_weights_that_cannot_be_fetched_name_the_file_and_the_folder(monkeypatch):
    def offline(*arguments, **options):
        raise URLError("no route to host")

    monkeypatch.setattr(imagenet.zoo, "get_model", offline)
    with pytest.raises(CheckpointError, match=r"Put resnet34-b627a593\.pth, .* into .*checkpoints"):
        build({**BEST, "pretrained": True}, fetch=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 32, "pretrained": True}, "exist for width 64 only, not 32"),
        ({"levels": 5}, "resnet18 has 4 levels, not 5"),
        ({"scale": 3}, "scale must be 1, 2, 4 or 8, not 3"),
    ],
)
def test_values_that_do_not_fit_are_named(change, message):
    with pytest.raises(ParamsError, match=message):
        build({**RESIDUAL, **change})


@pytest.mark.parametrize("architecture", [{"kind": "transformer"}, {}])
def test_an_unknown_kind_names_the_known_ones(architecture):
    with pytest.raises(CheckpointError, match="residual_unet"):
        build(architecture)


def test_a_value_of_another_version_is_named():
    with pytest.raises(CheckpointError, match="dilation"):
        build({**RESIDUAL, "dilation": 2})

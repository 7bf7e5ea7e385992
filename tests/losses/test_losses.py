import math
from urllib.error import URLError

import pytest
import torch
from pytorch_msssim import ms_ssim
from safetensors.torch import save_file
from torch import nn
from torchvision import models as zoo

from facesr.errors import CheckpointError, DataError
from facesr.losses import (
    ADVERSARIAL_LOSSES,
    ContentLoss,
    feature_distance,
    features,
    gradient_penalty,
    texture_distance,
)
from facesr.losses.content import PIXEL_TERMS
from facesr.models import imagenet


def flat(*colours):
    return torch.tensor(colours).view(1, 3, 1, 1).expand(2, 3, 4, 4)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mse", 0.04),
        ("log_mse", math.log(1 + 0.04 / 1e-3)),
        ("l1", 0.2),
        ("reduced_l1", 0.2),
        ("normalised_mse", (0.04 / 0.229**2 + 0.04 / 0.224**2 + 0.04 / 0.225**2) / 3),
    ],
)
def test_a_constant_difference_gives_the_value_computed_by_hand(name, expected):
    loss = PIXEL_TERMS[name](flat(0.7, 0.7, 0.7), flat(0.5, 0.5, 0.5))
    assert loss.item() == pytest.approx(expected, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("name", PIXEL_TERMS)
def test_equal_images_have_the_least_loss(name):
    hr = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    assert PIXEL_TERMS[name](hr, hr).item() == pytest.approx(0, abs=1e-6)


def test_log_mse_weighs_images_by_the_share_of_their_error():
    hr = torch.full((2, 3, 8, 8), 0.5)
    sr = hr + torch.tensor([0.8, 0.6]).view(2, 1, 1, 1)
    halved = PIXEL_TERMS["log_mse"](sr, hr) - PIXEL_TERMS["log_mse"]((sr + hr) / 2, hr)
    # Half the error is 6 dB of PSNR in each, a quarter of the squared error.
    assert halved.item() == pytest.approx(math.log(4), rel=0.01)


def test_ms_ssim_is_one_minus_the_metric_and_refuses_small_images():
    rng = torch.Generator().manual_seed(0)
    hr = torch.rand(1, 3, 180, 180, generator=rng)
    sr = (hr + 0.1 * torch.rand(1, 3, 180, 180, generator=rng)).clamp(0, 1)
    expected = 1 - ms_ssim(sr, hr, data_range=1).item()
    assert PIXEL_TERMS["ms_ssim"](sr, hr).item() == pytest.approx(expected, rel=1e-5)
    with pytest.raises(DataError, match="more than 32 px"):
        PIXEL_TERMS["ms_ssim"](torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32))


def test_the_content_loss_is_the_weighted_sum_of_its_terms():
    sr, hr = flat(0.7, 0.7, 0.7), flat(0.5, 0.5, 0.5)
    assert ContentLoss({"l1": 2.0, "mse": 10.0}, "vgg19")(sr, hr).item() == pytest.approx(
        2 * 0.2 + 0.4
    )


def test_features_are_compared_by_mean_absolute_difference_and_weight():
    sr = [torch.full((1, 2, 2, 2), 1.0), torch.full((1, 1, 3, 3), 4.0)]
    hr = [torch.zeros(1, 2, 2, 2), torch.full((1, 1, 3, 3), 2.0)]
    assert feature_distance(sr, hr, [0.5, 3.0]).item() == pytest.approx(0.5 * 1 + 3 * 2)
    assert feature_distance(sr, hr).item() == pytest.approx(1.5)


def test_texture_is_the_distance_of_gram_matrices_and_knows_no_place():
    hr = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])  # (1, 2, 1, 2)
    # [1 2; 3 0] times its transpose over 2 x 1 x 2 values.
    assert torch.allclose(features.gram(hr), torch.tensor([[[5.0, 3.0], [3.0, 9.0]]]) / 4)
    assert texture_distance([hr.flip(-1)], [hr]).item() == 0
    assert feature_distance([hr.flip(-1)], [hr]).item() > 0
    # All four entries of the Gram matrix grow by the factor 4: 3 x mean(5, 3, 3, 9) / 4.
    expected = 5e3 * 0.5**2 * 3 * 20 / 16
    assert texture_distance([2 * hr], [hr], [0.5]).item() == pytest.approx(expected)


def test_originals_take_no_gradient_from_a_comparison_of_features():
    sr = [torch.rand(1, 2, 4, 4, requires_grad=True)]
    hr = [torch.rand(1, 2, 4, 4, requires_grad=True)]
    (feature_distance(sr, hr) + texture_distance(sr, hr)).backward()
    assert sr[0].grad.abs().sum() > 0
    assert hr[0].grad is None


@pytest.fixture(params=["vgg16-397923af.pth", "vgg19-dcbb9e9d.pth"])
def vgg(request, tmp_path, monkeypatch):
    """Layers of a VGG with random weights, and its name; its file is in the named folder."""
    name = request.param.split("-")[0]
    torch.manual_seed(0)
    layers = zoo.vgg.make_layers(zoo.vgg.cfgs[imagenet.LAYOUTS[name]], batch_norm=False)
    state = {f"features.{key}": tensor for key, tensor in layers.state_dict().items()}
    torch.save(state, tmp_path / request.param)
    monkeypatch.setenv("FACESR_WEIGHTS", str(tmp_path))
    return layers, name


@pytest.fixture
def perceptual(vgg):
    return ContentLoss({"perceptual": 1.0, "texture": 0.5}, vgg[1])


def test_features_stand_before_the_activation_and_on_the_imagenet_scale(perceptual, vgg):
    x = torch.rand(1, 3, 32, 32)
    found = perceptual.network(x)
    assert [one.shape[1] for one in found] == [64, 128, 256, 512, 512]
    assert all((one < 0).any() for one in found)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    y = (x - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    layers, name = vgg
    last = {"vgg16": 28, "vgg19": 34}[name]
    with torch.no_grad():
        assert torch.allclose(found[0], layers[:3](y), atol=1e-5)
        assert torch.allclose(found[-1], layers[: last + 1](y), atol=1e-5)


def test_the_feature_network_never_learns_and_the_image_does(perceptual):
    before = {name: one.clone() for name, one in perceptual.state_dict().items()}
    sr = torch.rand(1, 3, 32, 32, requires_grad=True)
    perceptual.train()(sr, torch.rand(1, 3, 32, 32)).backward()
    assert sr.grad.abs().sum() > 0
    assert all(p.grad is None and not p.requires_grad for p in perceptual.parameters())
    assert all(torch.equal(one, before[n]) for n, one in perceptual.state_dict().items())
    assert not perceptual.network.training
    assert perceptual(sr, sr).item() == 0


def test_missing_features_name_file_folder_hash_and_the_other_way_out(monkeypatch):
    def offline(*arguments, **options):
        raise URLError("no route to host")

    monkeypatch.setattr(imagenet.zoo, "get_model", offline)
    with pytest.raises(
        CheckpointError,
        match=r"Put vgg19-dcbb9e9d\.pth, whose SHA-256 begins with dcbb9e9d, into .*checkpoints, "
        r"or leave perceptual and texture out of content",
    ) as error:
        ContentLoss({"texture": 1.0}, "vgg19")
    assert "\n" not in str(error.value)


VGG16 = {
    f"conv{number}": layer
    for number, layer in enumerate(
        one
        for one in zoo.vgg.make_layers(zoo.vgg.cfgs["D"], batch_norm=False)
        if isinstance(one, nn.Conv2d)
    )
}


def half(layers):
    """Names and tensors in half precision, as in vgg16_features_fp16.safetensors."""
    return {
        f"{name}.{kind}": tensor.half()
        for name, layer in layers.items()
        for kind, tensor in layer.state_dict().items()
    }


def test_features_also_come_from_a_file_of_the_convolutions_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("FACESR_WEIGHTS", str(tmp_path))
    save_file(half(VGG16), tmp_path / "vgg16_features_fp16.safetensors")
    loaded = imagenet.load_backbone("vgg16").features
    assert loaded[0].weight.dtype == torch.float32
    assert torch.equal(loaded[28].weight, VGG16["conv12"].weight.half().float())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is damaged"),
        (half({**VGG16, "conv13": VGG16["conv12"]}), "holds another network"),
        (half({**VGG16, "conv3": VGG16["conv2"]}), "holds another network"),
    ],
)
def test_a_file_that_is_not_the_networks_is_refused_with_its_source(
    tmp_path, monkeypatch, content, message
):
    monkeypatch.setenv("FACESR_WEIGHTS", str(tmp_path))
    file = tmp_path / "vgg16_features_fp16.safetensors"
    if content is None:
        file.write_bytes(b"no weights")
    else:
        save_file(content, file)
    with pytest.raises(CheckpointError, match=message) as error:
        ContentLoss({"perceptual": 1.0}, "vgg16")
    assert str(file) in str(error.value)
    assert "Put vgg16-397923af.pth, whose SHA-256 begins with 397923af" in str(error.value)
    assert "\n" not in str(error.value)


def test_reduced_l1_sees_colours_of_blocks_and_no_detail_within_them():
    hr = torch.full((1, 3, 8, 8), 0.5)
    checks = hr + 0.2 * (torch.arange(8) % 2 * 2 - 1)
    assert PIXEL_TERMS["reduced_l1"](checks, hr).item() == pytest.approx(0, abs=1e-7)
    assert PIXEL_TERMS["reduced_l1"](hr + 0.1, hr).item() == pytest.approx(0.1)
    assert PIXEL_TERMS["reduced_l1"](hr[..., :2, :2] + 0.1, hr[..., :2, :2]).item() > 0.09


def bce(logit, target):
    return math.log(1 + math.exp(-logit if target else logit))


ORIGINAL = torch.tensor([[2.0], [0.0]])
GENERATED = torch.tensor([[-1.0], [1.0]])
PARTITION = math.log(math.exp(2) + math.exp(0) + math.exp(-1) + math.exp(1))


@pytest.mark.parametrize(
    ("name", "critic", "generator"),
    [
        (
            "vanilla",
            (bce(2, 1) + bce(0, 1) + bce(-1, 0) + bce(1, 0)) / 4,
            (bce(-1, 1) + bce(1, 1)) / 2,
        ),
        # ((1 + 1) / 2 + (1 + 1) / 2) / 2 and ((4 + 0) / 2) / 2
        ("least_squares", 1.0, 1.0),
        # (0 + 1) / 2 + (0 + 2) / 2, and minus the mean
        ("hinge", 1.5, 0.0),
        ("wasserstein", 0.0 - 1.0, 0.0),
        # The means are 1 and 0.
        (
            "relativistic",
            (bce(2, 1) + bce(0, 1) + bce(-2, 0) + bce(0, 0)) / 4,
            (bce(-2, 1) + bce(0, 1) + bce(2, 0) + bce(0, 0)) / 4,
        ),
        ("softmax", PARTITION - 1.0, PARTITION - 0.5),
    ],
)
def test_both_sides_have_the_values_computed_by_hand(name, critic, generator):
    form = ADVERSARIAL_LOSSES[name]
    assert form.critic(ORIGINAL, GENERATED).item() == pytest.approx(critic, rel=1e-5)
    assert form.generator(ORIGINAL, GENERATED).item() == pytest.approx(generator, rel=1e-5)


@pytest.mark.parametrize("name", ADVERSARIAL_LOSSES)
def test_critic_and_generator_pull_apart(name):
    form = ADVERSARIAL_LOSSES[name]
    original, generated = (torch.zeros(3, 2, requires_grad=True) for _ in range(2))
    form.critic(original, generated).backward()
    assert (original.grad <= 0).all()
    assert original.grad.sum() < 0 or name == "least_squares"
    assert (generated.grad >= 0).all()
    # The critic is ahead: now the generator wants its images to look more original.
    generated = torch.full((3, 2), -1.0, requires_grad=True)
    form.generator(torch.ones(3, 2), generated).backward()
    assert (generated.grad < 0).all()


@pytest.mark.parametrize("name", ADVERSARIAL_LOSSES)
def test_only_relative_forms_look_at_the_originals(name):
    form = ADVERSARIAL_LOSSES[name]
    moved = form.generator(ORIGINAL + 1, GENERATED) - form.generator(ORIGINAL, GENERATED)
    assert (moved.item() != 0) == form.is_relative


def test_an_undecided_critic_loses_the_logarithm_of_two():
    loss = ADVERSARIAL_LOSSES["vanilla"].critic(torch.zeros(1, 3), torch.zeros(1, 3))
    assert loss.item() == pytest.approx(math.log(2))


class Slope(nn.Module):
    """P equal logits that rise by `factor` for each unit along all of the image's values."""

    def __init__(self, factor):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x):
        return (self.factor * x.flatten(1).sum(1, keepdim=True)).expand(-1, 5)


@pytest.mark.parametrize(("factor", "expected"), [(0.5, 1.0), (0.25, 0.0), (0.0, 1.0)])
def test_the_gradient_penalty_is_the_squared_distance_of_the_slope_to_one(factor, expected):
    # 16 values: the slope's norm is 4 x factor.
    critic = Slope(factor)
    pair = torch.rand(2, 1, 4, 4), torch.rand(2, 1, 4, 4)
    penalty = gradient_penalty(critic, *pair)
    assert penalty.item() == pytest.approx(expected, abs=1e-5)
    if factor == 0.5:
        penalty.backward()
        assert critic.factor.grad > 0


def test_ms_ssim_is_computed_in_float32_under_autocast():
    rng = torch.Generator().manual_seed(0)
    hr = torch.rand(1, 3, 48, 48, generator=rng)
    sr = (hr + 0.02 * torch.randn(hr.shape, generator=rng)).clamp(0, 1)
    exact = PIXEL_TERMS["ms_ssim"](sr, hr)
    with torch.autocast("cpu", torch.bfloat16):
        inside = PIXEL_TERMS["ms_ssim"](sr, hr)
    assert inside.dtype == torch.float32
    assert inside.item() == exact.item()

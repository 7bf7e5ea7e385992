"""LPIPS and identity: oracles by hand, missing and wrong weights, published values."""

import math
import os
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import skimage.data
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from facesr import images
from facesr.errors import CheckpointError
from facesr.evaluation import perceptual
from facesr.images.faces import Box
from facesr.models import published

NAMED = os.environ.get(published.VARIABLE)


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """No weights anywhere but in the named folder, which is empty."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(perceptual, "find_spec", lambda name: name in ("lpips", "dlib") or None)
    monkeypatch.setenv(published.VARIABLE, str(tmp_path))
    return tmp_path


def random_alexnet():
    generator = torch.Generator().manual_seed(3)
    return [
        (torch.randn(shape, generator=generator) * 0.05, torch.randn(shape[0], generator=generator))
        for shape in perceptual.ALEXNET_SHAPES
    ]


def lpips_by_hand(first, second, convolutions):
    """The paper's formula in float64: (3, H, W) in [0, 1], twice."""
    path = files("lpips") / "weights" / "v0.1" / "alex.pth"
    heads = torch.load(str(path), map_location="cpu", weights_only=True)
    shift = torch.tensor([-0.030, -0.088, -0.188]).double()[:, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450]).double()[:, None, None]
    strides, paddings, pooled = (4, 1, 1, 1, 1), (2, 2, 1, 1, 1), (0, 1, 1, 0, 0)
    x, y = (((2 * image.double() - 1 - shift) / scale)[None] for image in (first, second))
    total = 0.0
    for layer, (weight, bias) in enumerate(convolutions):
        features = []
        for image in (x, y):
            image = F.max_pool2d(image, 3, 2) if pooled[layer] else image
            image = F.conv2d(
                image, weight.double(), bias.double(), strides[layer], paddings[layer]
            ).relu()
            features.append(image)
        x, y = features
        a, b = (one[0].numpy() / np.linalg.norm(one[0].numpy(), axis=0) for one in (x, y))
        head = heads[f"lin{layer}.model.1.weight"].double().numpy()[0]
        total += (head * (a - b) ** 2).sum(0).mean()
    return total


def test_lpips_agrees_with_the_formula_written_again():
    rng = torch.Generator().manual_seed(1)
    sr, hr = torch.rand(2, 3, 75, 64, generator=rng), torch.rand(3, 75, 64, generator=rng)
    convolutions = random_alexnet()
    measured = perceptual.Lpips(convolutions)(sr, hr)
    expected = [lpips_by_hand(one, hr, convolutions) for one in sr]
    assert min(expected) > 0.01
    assert measured.tolist() == pytest.approx(expected, rel=1e-4)


def test_lpips_of_equal_images_is_none_and_grows_with_the_damage():
    hr = images.resize(astronaut(), (64, 64), "lanczos").clamp(0, 1)
    noise = torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(2))
    sr = torch.stack([hr, *((hr + strength * noise).clamp(0, 1) for strength in (0.05, 0.2))])
    equal, little, much = perceptual.Lpips(random_alexnet())(sr, hr).tolist()
    assert equal == pytest.approx(0, abs=1e-9)
    assert 1e-6 < little < much


@pytest.mark.parametrize("size", [(30, 64), (31, 31)])
def test_an_image_that_is_too_small_for_alexnet_has_no_lpips(size):
    image = torch.rand(3, *size)
    [value] = perceptual.Lpips(random_alexnet())(image[None], image).tolist()
    assert math.isnan(value) == (30 in size)


def astronaut():
    return images.from_uint8(torch.from_numpy(skimage.data.astronaut()).permute(2, 0, 1))


def test_identity_is_the_cosine_of_descriptors_at_the_originals_landmarks(monkeypatch):
    hr, sr = torch.zeros(3, 8, 8), torch.stack([torch.ones(3, 8, 8), torch.full((3, 8, 8), 0.6)])
    located = []
    monkeypatch.setattr(perceptual, "find_faces", lambda image: [Box(1, 1, 6, 6), Box(0, 0, 2, 2)])

    def landmarks(pixels, face):
        located.append((int(pixels.max()), face.width()))
        return "points"

    def describe(pixels, points):
        assert points == "points"
        return {0: [3.0, 4.0], 255: [4.0, 3.0], 153: [-30.0, -40.0]}[int(pixels.max())]

    network = SimpleNamespace(compute_face_descriptor=describe)
    cosines = perceptual.Identity(landmarks, network)(sr, hr)
    assert cosines.tolist() == pytest.approx([24 / 25, -1])
    # Once, in the original: its largest face.
    assert located == [(0, 5)]


def test_an_original_without_a_face_has_no_identity(monkeypatch):
    monkeypatch.setattr(perceptual, "find_faces", lambda image: [])
    values = perceptual.Identity(None, None)(torch.zeros(2, 3, 8, 8), torch.zeros(3, 8, 8))
    assert values.isnan().tolist() == [True, True]


def test_without_weights_nothing_is_measured_and_the_log_says_how_to_get_them(empty, caplog):
    caplog.set_level("INFO")
    values = perceptual.measure(torch.rand(2, 3, 64, 64), torch.rand(3, 64, 64))
    assert list(values) == ["lpips", "identity"]
    assert all(column.isnan().all() and len(column) == 2 for column in values.values())
    assert "LPIPS is not available: AlexNet's weights are missing. Get it with" in caplog.text
    assert "dlib's weights are missing" in caplog.text


def test_weights_that_are_not_imagenets_are_refused(empty):
    parts = {"weight": 0, "bias": 1}
    tensors = {
        f"conv{number}.{part}": layer[position]
        for number, layer in enumerate(random_alexnet())
        for part, position in parts.items()
    }
    save_file(tensors, empty / perceptual.ALEXNET_FILES[1])
    with pytest.raises(
        CheckpointError, match=r"lpips_alex_fp16.* does not hold ImageNet's AlexNet"
    ):
        perceptual.measure(torch.rand(1, 3, 64, 64), torch.rand(3, 64, 64), ["lpips"])


def test_a_damaged_file_is_named_with_the_way_to_get_it(empty):
    (empty / perceptual.ALEXNET_FILES[0]).write_bytes(b"half")
    with pytest.raises(
        CheckpointError, match=r"alexnet-owt-7be5be79\.pth is damaged .*Get it with"
    ):
        perceptual.measure(torch.rand(1, 3, 64, 64), torch.rand(3, 64, 64), ["lpips"])
    for name in (perceptual.LANDMARKS, perceptual.FACE_NETWORK):
        (empty / name).write_bytes(b"half")
    with pytest.raises(CheckpointError, match=r"is damaged or holds another network\. Get both"):
        perceptual.measure(torch.rand(1, 3, 64, 64), torch.rand(3, 64, 64), ["identity"])


@pytest.fixture
def lpips():
    metric = perceptual.load_lpips(NAMED)
    if not isinstance(metric, perceptual.Lpips):
        pytest.skip("AlexNet's weights are neither in FACESR_WEIGHTS nor in torchvision's cache")
    return metric


def test_lpips_has_the_published_values(lpips):
    check = Path(NAMED or "", "check")
    if not (check / "ex_ref.png").is_file():
        pytest.skip("the authors' images are not in check/ of FACESR_WEIGHTS")
    reference, *others = (images.read(check / f"ex_{name}.png") for name in ("ref", "p0", "p1"))
    # README of https://github.com/richzhang/PerceptualSimilarity
    values = lpips(torch.stack(others), reference).tolist()
    assert values == pytest.approx([0.722, 0.138], abs=5e-4)


def test_blur_costs_lpips_more_than_brightness(lpips):
    hr = images.resize(astronaut(), (128, 128), "lanczos").clamp(0, 1)
    small = images.resize(hr, (32, 32), "bicubic")
    blurred = images.resize(small, (128, 128), "bicubic").clamp(0, 1)
    values = lpips(torch.stack([blurred, (hr + 0.02).clamp(0, 1)]), hr)
    assert values[0] > 10 * values[1]


@pytest.fixture
def identity():
    metric = perceptual.load_identity(NAMED)
    if not isinstance(metric, perceptual.Identity):
        pytest.skip("dlib's weights are neither installed (facesr[identity]) nor in FACESR_WEIGHTS")
    return metric


def test_a_blurred_face_stays_the_same_person_and_a_mirrored_frame_does_not(identity):
    hr = astronaut()
    small = images.resize(hr, (128, 128), "bicubic")
    blurred = images.resize(small, (512, 512), "bicubic").clamp(0, 1)
    equal, soft, other = identity(torch.stack([hr, blurred, hr.flip(1)]), hr).tolist()
    assert equal == pytest.approx(1)
    assert 0.95 < soft < 1
    assert other < 0.9

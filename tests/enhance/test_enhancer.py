from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from tiny import network, with_grain

from facesr import images
from facesr.enhance.enhancer import EnhanceOptions, Enhancer
from facesr.errors import CheckpointError, ParamsError
from facesr.models import build
from facesr.models.checkpoints import Network, load_chain, load_network, save_networks


def image(height=24, width=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(3, 6, 8, generator=generator)
    return images.resize(coarse, (height, width), "bicubic").clamp(0, 1)


@pytest.fixture
def files(tmp_path):
    """The weights before and after an adversarial training, and an up-sampler's."""
    paths = [tmp_path / f"{name}.safetensors" for name in ("generator", "gan", "upsampler")]
    for seed, path in enumerate(paths):
        save_networks(path, [network(seed=seed)])
    return paths


@pytest.fixture
def enhancer(files):
    generator, gan, upsampler = files
    return Enhancer.from_files([gan, upsampler], fidelity=generator, device="cpu")


def test_strengths_zero_and_one_are_the_two_trained_networks_bit_for_bit(files, enhancer):
    generator, gan, upsampler = files
    for strength, first in ((0.0, generator), (1.0, gan)):
        alone = Enhancer.from_files([first, upsampler], device="cpu")
        mixed = enhancer.enhance(image(), EnhanceOptions(scale=4, strength=strength)).image
        assert torch.equal(mixed, alone.enhance(image(), EnhanceOptions(scale=4)).image)


def test_a_strength_between_differs_from_both_ends(enhancer):
    ends = [
        enhancer.enhance(image(), EnhanceOptions(strength=strength)).image for strength in (0, 1)
    ]
    between = enhancer.enhance(image(), EnhanceOptions(strength=0.5)).image
    assert all((between - end).abs().max() > 1e-3 for end in ends)


def test_networks_with_one_set_of_weights_refuse_another_strength(files):
    enhancer = Enhancer.from_files(files[1:], device="cpu")
    with pytest.raises(ParamsError, match="one set of weights only: strength must be 1, not 0.5"):
        enhancer.enhance(image(), EnhanceOptions(strength=0.5))


def test_both_operating_points_survive_a_file(enhancer, tmp_path):
    path = tmp_path / "chain.safetensors"
    enhancer.save(path)
    loaded = Enhancer.from_checkpoint(path, device="cpu")
    for strength in (0, 0.5, 1):
        expected = enhancer.enhance(image(), EnhanceOptions(strength=strength)).image
        assert torch.equal(
            loaded.enhance(image(), EnhanceOptions(strength=strength)).image, expected
        )
    again = tmp_path / "again.safetensors"
    loaded.save(again)
    assert again.read_bytes() == path.read_bytes()


def test_grain_grows_with_the_strength_and_the_faithful_end_has_none(files, tmp_path):
    generator = load_network(files[0])
    grained = tmp_path / "grained.safetensors"
    save_networks(grained, [with_grain(generator, 0.05)])
    enhancer = Enhancer.from_files([grained], fidelity=files[0], device="cpu")
    faithful, half, crisp = (
        enhancer.enhance(image(), EnhanceOptions(strength=strength, colour="none")).image
        for strength in (0, 0.5, 1)
    )
    alone = (
        Enhancer.from_files([files[0]], device="cpu")
        .enhance(image(), EnhanceOptions(colour="none"))
        .image
    )
    assert torch.equal(faithful, alone)
    assert float((crisp - faithful).std()) == pytest.approx(0.05, rel=0.1)
    assert float((half - faithful).std()) == pytest.approx(0.025, rel=0.1)


@pytest.mark.parametrize("change", [{"width": 8}, {"body_blocks": 0}, {"grain": True}])
def test_weights_of_another_architecture_are_no_second_operating_point(files, tmp_path, change):
    other = tmp_path / "other.safetensors"
    save_networks(other, [network(**change)])
    with pytest.raises(CheckpointError, match="hold different networks"):
        load_chain(files[1:], fidelity=other)


@pytest.mark.parametrize(
    ("wanted", "output"),
    [
        ({}, (96, 128)),
        ({"size": 100}, (75, 100)),
        ({"scale": 2.5}, (60, 80)),
        ({"scale": 8}, (192, 256)),
        ({"scale": 0.5}, (12, 16)),
    ],
)
def test_any_size_comes_out_exactly(enhancer, wanted, output):
    result = enhancer.enhance(image(), EnhanceOptions(**wanted))
    assert tuple(result.image.shape) == (3, *output)
    assert (result.input_size, result.output_size) == ((24, 32), output)
    assert 0 <= result.image.min() <= result.image.max() <= 1


@pytest.mark.parametrize(
    "options",
    [{"size": 0}, {"scale": -1}, {"scale": float("nan")}, {"size": 8, "scale": 2}],
)
def test_a_size_that_makes_no_sense_is_refused(enhancer, options):
    with pytest.raises(ParamsError):
        enhancer.enhance(image(), EnhanceOptions(**options))


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_a_strength_outside_its_range_is_refused(enhancer, strength):
    with pytest.raises(ParamsError, match="between 0 and 1"):
        enhancer.enhance(image(), EnhanceOptions(strength=strength))


def test_the_image_handed_in_is_never_changed(enhancer):
    given = image()
    for scale in (1, 2):
        enhancer.enhance(given, EnhanceOptions(scale=scale))
        Enhancer.bicubic().enhance(given, EnhanceOptions(scale=scale)).image.zero_()
    assert torch.equal(given, image())


def test_an_image_that_is_large_already_is_given_back_as_it_is(enhancer):
    assert torch.equal(enhancer.enhance(image(), EnhanceOptions(scale=1)).image, image())


def test_networks_that_enlarge_nothing_restore_at_scale_one():
    result = Enhancer([network(scale=1)], "cpu").enhance(image())
    assert result.output_size == (24, 32)
    assert not torch.equal(result.image, image())


def test_every_option_changes_the_result(enhancer):
    large = image(200, 240)
    plain = enhancer.enhance(large, EnhanceOptions(colour="none")).image
    for options in (
        {"colour": "wavelet"},
        {"colour": "adain"},
        {"strength": 0.3},
        {"back_projections": 1},
        {"self_ensemble": True},
        {"tile": 64},
    ):
        changed = enhancer.enhance(large, EnhanceOptions(**{"colour": "none", **options})).image
        assert not torch.equal(changed, plain), options


def test_bfloat16_is_taken_only_where_it_agrees_with_float32(monkeypatch):
    monkeypatch.setattr("facesr.devices.has_fast_bfloat16", lambda device: True)
    agreeing = Enhancer([network()], "cpu")
    assert agreeing.find_dtype() == torch.bfloat16
    exact = Enhancer([network()], "cpu", precision="float32").enhance(image()).image
    rounded = agreeing.enhance(image()).image
    assert not torch.equal(exact, rounded)
    assert (exact - rounded).square().mean() < 1e-5
    monkeypatch.setattr("facesr.enhance.agreement.AGREEMENT", 200)
    assert Enhancer([network()], "cpu").find_dtype() == torch.float32


def test_threads_share_a_network_that_hands_its_skips_over_through_hooks():
    torch.manual_seed(0)
    architecture = {
        "kind": "fastai_unet",
        "backbone": "resnet18",
        "pretrained": False,
        "self_attention": False,
        "scale": 1,
    }
    enhancer = Enhancer([Network(architecture, build(architecture))], "cpu", precision="float32")
    inputs = [image(32, 32, seed=seed) for seed in range(6)]
    alone = [enhancer.enhance(each).image for each in inputs]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda each: enhancer.enhance(each).image, inputs))
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


def test_threads_that_share_an_enhancer_get_their_own_images(enhancer):
    inputs = [image(seed=seed) for seed in range(8)]
    strengths = [0.0, 0.25, 0.5, 1.0] * 2

    def enhance(given):
        return enhancer.enhance(given[0], EnhanceOptions(strength=given[1])).image

    alone = [enhance(given) for given in zip(inputs, strengths, strict=True)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(enhance, zip(inputs, strengths, strict=True)))
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


def test_a_self_ensemble_is_the_mean_over_the_forms_turned_back(enhancer):
    given = image(24, 40)
    forms = []
    for turns in range(4):
        for mirrored in (False, True):
            form = np.rot90(given.flip(-1) if mirrored else given, turns, (-2, -1)).copy()
            result = enhancer.enhance(torch.from_numpy(form), EnhanceOptions(colour="none")).image
            result = torch.from_numpy(np.rot90(result, -turns, (-2, -1)).copy())
            forms.append(result.flip(-1) if mirrored else result)
    progress = []
    result = enhancer.enhance(
        given,
        EnhanceOptions(colour="none", self_ensemble=True),
        on_progress=lambda *counts: progress.append(counts),
    )
    assert torch.allclose(result.image, torch.stack(forms).mean(0), atol=1e-6)
    assert progress == [(number + 1, 8) for number in range(8)]
    turned = enhancer.enhance(
        torch.rot90(given, 1, (-2, -1)), EnhanceOptions(colour="none", self_ensemble=True)
    )
    assert torch.allclose(torch.rot90(turned.image, -1, (-2, -1)), result.image, atol=1e-6)


@pytest.mark.parametrize("device", ["quantum", "cuda"])
def test_a_device_that_is_not_there_is_reported(device):
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("this computer has one")
    with pytest.raises(ParamsError, match="Choose auto"):
        Enhancer([], device)

import pytest
import torch
from tiny import network, with_grain

from facesr import metrics
from facesr.enhance.tiles import Tiler
from facesr.models.blocks import GRAIN_PERIOD
from facesr.models.checkpoints import load_network, save_networks


def grains(lr, amplitude=0.02, **changes):
    """The grain of an otherwise untrained network, and what it is added to."""
    given = network(**changes)
    plain = given.module.eval()(lr)
    return with_grain(given, amplitude).module(lr) - plain, plain


def flat(height=64, width=96):
    return torch.full((1, 3, height, width), 0.5)


@torch.no_grad()
def test_a_network_gets_grain_and_restores_as_before_until_it_is_fitted():
    lr = torch.rand(1, 3, 20, 28, generator=torch.Generator().manual_seed(0))
    added, _ = grains(lr, amplitude=0.0)
    assert not added.any()


@torch.no_grad()
@pytest.mark.parametrize("scale", [1, 2, 4])
def test_grain_has_the_deviation_that_its_amplitude_says_and_no_colour(scale):
    added, _ = grains(flat(), scale=scale)
    assert added.shape == (1, 3, 64 * scale, 96 * scale)
    assert added.std() == pytest.approx(0.02, rel=0.02)
    assert added.mean().abs() < 1e-3
    for channel in (1, 2):
        torch.testing.assert_close(added[:, channel], added[:, 0], atol=1e-6, rtol=0)


@torch.no_grad()
def test_grain_has_the_gradient_energy_that_it_claims():
    added, _ = grains(flat(128, 128), amplitude=0.1)
    energy = metrics.gradient_energy(metrics.luma_of(added.double())) / added[0, 0].numel()
    claimed = with_grain(network(), 0.1).module.grain.energy
    assert float(energy) == pytest.approx(0.1**2 * claimed, rel=0.01)


@torch.no_grad()
def test_grain_is_fine_its_neighbours_are_opposite_rather_than_alike():
    added = grains(flat())[0][0, 0]
    for axis in (0, 1):
        neighbours = (added * added.roll(1, axis)).mean() / added.square().mean()
        assert -0.4 < float(neighbours) < -0.1


@torch.no_grad()
@pytest.mark.parametrize("shape", [(1, 1), (5, 31), (16, 16)])
def test_a_network_with_grain_takes_any_size(shape):
    added, plain = grains(torch.rand(1, 3, *shape))
    assert added.shape == plain.shape
    assert added.any()


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
def test_tiles_see_their_part_of_the_grain(scale):
    lr = torch.full((3, 150, 210), 0.5)
    module = with_grain(network(scale=scale, visible=0.0), 0.02).module
    target = (150 * scale, 210 * scale)
    whole = Tiler([module], torch.device("cpu"), tile=1000).run(lr, target)
    tiler = Tiler([module], torch.device("cpu"), tile=64)
    assert tiler.side * scale % GRAIN_PERIOD == 0
    assert (tiler.run(lr, target) - whole).abs().max() < 1e-5
    assert whole.std() > 0.01


@torch.no_grad()
def test_a_file_brings_its_own_noise(tmp_path):
    given = with_grain(network(), 0.02)
    given.module.grain.noise.copy_(given.module.grain.noise.roll(7, 3))
    save_networks(tmp_path / "rolled.safetensors", [given])
    loaded = load_network(tmp_path / "rolled.safetensors").module
    assert torch.equal(loaded(flat()), given.module(flat()))
    assert not torch.equal(loaded(flat()), with_grain(network(), 0.02).module(flat()))

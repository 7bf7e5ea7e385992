import pytest
import torch
from tiny import network

from facesr import metrics
from facesr.config import GrainParams
from facesr.training.grain import fit_grain

DEVIATION = 0.04


class Batches:
    """Smooth originals, of which the bright ones have noise."""

    batch_size = 8

    def __init__(self):
        self.rng = torch.Generator().manual_seed(0)

    def __iter__(self):
        for _ in range(4):
            yield self.draw()

    def draw(self):
        brightness = torch.tensor([0.3, 0.7]).repeat(4).view(8, 1, 1, 1)
        lr = brightness + 0.02 * torch.rand(8, 3, 18, 18, generator=self.rng)
        smooth = network(visible=0.0).module(lr)
        noise = torch.randn(8, 1, *smooth.shape[2:], generator=self.rng)
        return lr, (smooth + DEVIATION * noise * (brightness > 0.5)).detach().clamp(0, 1)


def fitted(given=None, share=1.0, crops=64, after_each=lambda: None):
    params = GrainParams(crops=crops, share=share)
    return fit_grain(
        given or network(visible=0.0, width=16), Batches(), params, after_each=after_each
    )


def energies(module):
    """Gradient energy of results and originals, of dark images and of bright ones."""
    lr, hr = Batches().draw()
    with torch.no_grad():
        pair = (module(lr).clamp(0, 1), hr)
    own, wanted = (metrics.gradient_energy(metrics.luma_of(one.double())) for one in pair)
    return own.view(4, 2).mean(0), wanted.view(4, 2).mean(0)


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_grain_gives_each_kind_of_image_its_share_of_the_originals_energy(share):
    (dark, bright), (wanted_dark, wanted_bright) = energies(fitted(share=share).module)
    assert bright / wanted_bright == pytest.approx(share, abs=0.05)
    assert (dark - wanted_dark).abs() < 0.02 * wanted_bright


def test_the_rest_of_the_network_stays_as_it_is():
    given = network()
    before = {name: tensor.clone() for name, tensor in given.module.state_dict().items()}
    result = fitted(given)
    after = result.module.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert after.keys() - before.keys() == {
        "grain.amplitude.weight",
        "grain.amplitude.bias",
        "grain.noise",
    }
    assert result.architecture == {**given.architecture, "grain": True}


def test_the_same_images_give_the_same_grain():
    one, other = (fitted().module.grain.amplitude.weight for _ in range(2))
    assert torch.equal(one, other)
    assert one.any()


def test_so_many_crops_are_looked_at_as_are_asked_for_in_whole_batches():
    calls = []
    fitted(crops=41, after_each=lambda: calls.append(1))
    assert len(calls) == 6


def test_the_work_between_two_batches_may_end_it():
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(after_each=stop)

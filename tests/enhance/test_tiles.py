import logging

import pytest
import torch
from tiny import network
from torch import nn

from facesr import images
from facesr.enhance import tiles
from facesr.enhance.tiles import Tiler
from facesr.errors import DataError

CPU = torch.device("cpu")


def residual_unet(*, scale, levels=3, seed=0):
    """What it adds to bicubic is visible everywhere."""
    return network(seed=seed, visible=0.01, scale=scale, levels=levels, width=8).module.eval()


class Copy(nn.Module):
    """Repeats pixels and notes what it was given."""

    def __init__(self, scale=2, multiple=1, fails=lambda shape: False):
        super().__init__()
        self.scale, self.multiple, self.fails = scale, multiple, fails
        self.shapes = []

    def forward(self, x):
        self.shapes.append(tuple(x.shape))
        if self.fails(x.shape):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")
        return x.repeat_interleave(self.scale, -1).repeat_interleave(self.scale, -2)


def textured(height=150, width=210, seed=0):
    noise = torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))
    coarse = images.resize(noise[:, :12, :16], (height, width), "bicubic")
    return (0.7 * coarse + 0.3 * noise).clamp(0, 1)


def psnr(a, b):
    return float(-10 * torch.log10((a - b).square().mean().clamp(min=1e-12)))


@pytest.mark.parametrize(
    ("target", "tile"),
    [
        ((1200, 1680), 96),
        ((1200, 1679), 64),
        ((777, 1088), 96),
        ((901, 1260), 64),
        pytest.param((1200, 1680), 64, marks=pytest.mark.slow),
        pytest.param((1200, 1679), 96, marks=pytest.mark.slow),
        pytest.param((777, 1088), 64, marks=pytest.mark.slow),
        pytest.param((901, 1260), 96, marks=pytest.mark.slow),
    ],
)
def test_tiles_and_the_whole_image_agree(target, tile):
    networks = [residual_unet(scale=4), residual_unet(scale=2, seed=1)]
    whole = Tiler(networks, CPU, tile=1000).run(textured(), target)
    tiled = Tiler(networks, CPU, tile=tile).run(textured(), target)
    assert tiled.shape == (3, *target)
    assert psnr(tiled, whole) >= 50
    assert psnr(whole, images.resize(textured(), target, "bicubic")) < 40


@pytest.mark.parametrize("image", [torch.full((3, 150, 210), 0.4), textured()])
def test_no_seam_is_seen_between_tiles(image):
    networks = [residual_unet(scale=2)]
    whole = Tiler(networks, CPU, tile=1000).run(image, (300, 420))
    tiled = Tiler(networks, CPU, tile=64).run(image, (300, 420))
    assert (tiled - whole).abs().max() < 1 / 255


@pytest.mark.parametrize(("side", "target"), [(100, 200), (143, 286), (97, 250), (300, 299)])
def test_the_weights_of_all_tiles_sum_to_one(side, target):
    total = torch.zeros(target)
    for span in tiles._spans(side, target, 48, 16):
        total[span.first : span.first + len(span.weights)] += span.weights
    torch.testing.assert_close(total, torch.ones(target))


def test_a_network_never_sees_more_than_a_tile_and_its_overlap():
    network = Copy()
    image = textured(700, 900)
    result = Tiler([network], CPU, tile=64).run(image, (1400, 1800))
    assert max(max(shape[-2:]) for shape in network.shapes) <= 64 + 32
    torch.testing.assert_close(result[:, ::2, ::2], image)


def test_tiles_start_on_the_common_grid_of_all_networks():
    tiler = Tiler([Copy(scale=4, multiple=4), Copy(scale=2, multiple=32)], CPU, tile=50)
    assert (tiler.scale, tiler.multiple, tiler.side) == (8, 8, 56)
    assert all(span.start % 8 == 0 for span in tiles._spans(333, 2664, tiler.side, tiler.overlap))


def test_out_of_memory_halves_the_tile_and_goes_on(caplog):
    calls = []

    def fails(shape):
        calls.append(shape)
        return len(calls) > 2 and max(shape[-2:]) > 70

    image = textured(300, 400)
    network = Copy(fails=fails)
    with caplog.at_level(logging.WARNING):
        result = Tiler([network], CPU, tile=128).run(image, (600, 800))
    torch.testing.assert_close(result[:, ::2, ::2], image)
    assert [record.getMessage() for record in caplog.records] == [
        "out of memory on cpu: tiles of 64 pixels from here on"
    ]
    # The two tiles before the failure were kept, and one attempt was lost.
    assert sum(max(shape[-2:]) > 70 for shape in network.shapes) == 3


def test_memory_that_suffices_for_no_tile_is_reported():
    tiler = Tiler([Copy(fails=lambda shape: True)], CPU)
    with pytest.raises(DataError, match="does not suffice for a tile of"):
        tiler.run(textured(), (300, 420))


def test_another_error_is_not_taken_for_lack_of_memory():
    class Broken(Copy):
        def forward(self, x):
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        Tiler([Broken()], CPU).run(textured(), (300, 420))


def test_a_result_that_is_not_finite_is_computed_again_in_float32(caplog):
    class Overflows(Copy):
        def forward(self, x):
            y = super().forward(x)
            return y * torch.nan if torch.is_autocast_enabled("cpu") else y

    image = textured()
    with caplog.at_level(logging.WARNING):
        result = Tiler([Overflows()], CPU, dtype=torch.bfloat16).run(image, (300, 420))
    torch.testing.assert_close(result[:, ::2, ::2], image)
    assert "repeated in float32" in caplog.text


def test_progress_counts_every_tile_once():
    seen = []
    Tiler([Copy()], CPU, tile=64).run(
        textured(200, 300), (400, 600), lambda done, total: seen.append((done, total))
    )
    assert [done for done, _ in seen] == list(range(1, len(seen) + 1))
    assert {total for _, total in seen} == {len(seen)}
    assert len(seen) > 10


def test_tiles_that_pass_together_give_what_they_give_alone(monkeypatch):
    tiler = Tiler([residual_unet(scale=2)], CPU, tile=48)
    alone = tiler.run(textured(), (300, 420))
    monkeypatch.setattr(tiles, "CPU_BATCH", 3)
    torch.testing.assert_close(tiler.run(textured(), (300, 420)), alone, atol=1e-5, rtol=0)


def test_neighbours_of_one_size_share_a_batch():
    rows, columns = (tiles._spans(side, side, 48, 16) for side in (112, 200))
    batches = list(tiles._batches(2, rows, columns, 4))
    assert max(len(batch) for batch in batches) == 4
    for batch in batches:
        assert len({(row.stop - row.start, col.stop - col.start) for _, row, col in batch}) == 1
    assert sum(len(batch) for batch in batches) == 2 * len(rows) * len(columns)

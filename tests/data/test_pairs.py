import json

import numpy as np
import pytest
import torch
from test_degradation import RECIPES, face

from facesr import images
from facesr.data import packs
from facesr.data.degradation import Degradation
from facesr.data.pairs import (
    FRESH,
    Crop,
    FreshViews,
    Pairs,
    TrainBatches,
    cut,
    draw_crops,
    draw_views,
    load_pairs,
)
from facesr.errors import DataError


def places(side, scale):
    """A pair whose pixels say where they are: red the row, green the column."""
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    lr = torch.stack([y, x, torch.zeros_like(x)]).to(torch.uint8)
    hr = lr.repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    return lr[None], hr[None]


def numbered(count, side, scale):
    lr = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, side, side)
    hr = lr.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    return Pairs(tuple(f"{i}" for i in range(count)), lr, hr)


def test_crop_and_mirroring_hit_both_sizes_alike():
    lr, hr = places(20, 3)
    pairs = Pairs(("a",), lr, hr)
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(20):
        small, large = cut(pairs, draw_crops(pairs, np.array([0]), crop_size=6, rng=rng))
        assert torch.equal(large[..., ::3, ::3], small)
        columns = (small[0, 1, 0] * 255).round()
        seen.add(bool(columns[0] > columns[-1]))
    assert seen == {True, False}


def batches(pairs, epoch=0, crop_size=8, **changes):
    made = TrainBatches(
        pairs,
        **{"batch_size": 4, "crop_size": crop_size, "crops_per_pair": 2, "seed": 3},
        **{"device": torch.device("cpu"), **changes},
    )
    made.epoch = epoch
    return list(made)


def test_an_epoch_follows_from_its_number_alone():
    pairs = numbered(9, 12, 2)
    first, again, other = batches(pairs, 1), batches(pairs, 1), batches(pairs, 2)
    assert len(first) == 4
    assert all(torch.equal(a[1], b[1]) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a[1], b[1]) for a, b in zip(first, other, strict=True))


def fresh_pairs(recipe, sizes=(1.0, 1.0)):
    hr = images.to_uint8(torch.stack([face(64), face(64).flip(-1), face(64).flip(-2)]))
    lr = torch.zeros(3, 3, 16, 16, dtype=torch.uint8)
    return Pairs(("a", "b", "c"), lr, hr, FreshViews(Degradation(recipe, RECIPES), sizes))


def test_fresh_views_are_those_of_the_crops():
    for lr, hr in batches(fresh_pairs("bicubic"), crop_size=12):
        for view, original in zip(lr, hr, strict=True):
            expected = images.round_to_8bit(images.resize(original, (12, 12), "bicubic"))
            assert torch.equal(view, expected)


def test_fresh_views_show_smaller_faces_in_both_sizes_alike():
    pairs = fresh_pairs("bicubic", sizes=(0.5, 0.8))
    rng = np.random.default_rng(0)
    crops = draw_crops(pairs, np.arange(300) % 3, crop_size=6, rng=rng)
    # 6 / 0.8 to 6 / 0.5 px, as many below the geometric mean as above.
    assert {crop.side for crop in crops} == set(range(8, 13))
    assert 0.4 < np.mean([crop.side < 6 / np.sqrt(0.5 * 0.8) for crop in crops]) < 0.6
    made = draw_views(
        pairs, iter([crops]), crop_size=6, seed=1, epoch=0, device=torch.device("cpu")
    )
    ((lr, hr),) = made
    assert lr.shape == (300, 3, 6, 6)
    for crop, small, large in zip(crops[:20], lr, hr, strict=False):
        _, whole = cut(pairs, [crop])
        expected = images.round_to_8bit(images.resize(whole[0], (24, 24), "bicubic"))
        assert torch.equal(large, expected)
        assert torch.equal(small, images.round_to_8bit(images.resize(expected, (6, 6), "bicubic")))


def test_fresh_views_are_never_larger_than_the_original():
    pairs = fresh_pairs("bicubic", sizes=(0.1, 0.1))
    (crop,) = draw_crops(pairs, np.array([2]), crop_size=6, rng=np.random.default_rng(0))
    assert crop[:4] == (2, 0, 0, 16)


def test_fresh_views_change_with_the_epoch_and_not_with_the_threads():
    pairs = fresh_pairs("mixture")
    whole = [Crop(pair, top=0, left=0, side=16, mirrored=False) for pair in range(3)]

    def views(epoch, workers):
        made = draw_views(
            pairs,
            iter([whole] * 5),
            crop_size=16,
            seed=1,
            epoch=epoch,
            device=torch.device("cpu"),
            workers=workers,
        )
        return torch.stack([lr for lr, _ in made])

    one = views(0, 1)
    assert torch.equal(one, views(0, 2))
    assert torch.equal(one, views(0, 4))
    assert not torch.equal(one, views(1, 1))
    assert not torch.equal(one[0], one[1])


@pytest.mark.parametrize("recipe", [None, "mixture"])
def test_the_shares_of_processes_are_the_batches_of_one(recipe, monkeypatch):
    pairs = fresh_pairs(recipe) if recipe else numbered(6, 12, 2)
    whole = batches(pairs, epoch=1)
    made = []
    degrade = Degradation.__call__
    monkeypatch.setattr(
        Degradation, "__call__", lambda *args, **kwargs: made.append(1) or degrade(*args, **kwargs)
    )
    shares = [batches(pairs, epoch=1, shard=slice(rank, None, 2)) for rank in range(2)]
    for batch, *parts in zip(whole, *shares, strict=True):
        for kind in range(2):
            together = torch.empty_like(batch[kind])
            for rank, part in enumerate(parts):
                together[rank::2] = part[kind]
            assert torch.equal(together, batch[kind])
    # No view is made twice.
    assert len(made) == (4 * len(whole) if recipe else 0)


def test_fresh_views_are_made_on_the_device_that_is_asked_for():
    ((lr, hr), *_) = batches(fresh_pairs("bicubic"), device=torch.device("meta"))
    assert lr.device.type == hr.device.type == "meta"


def write_pack(folder, stems, contents):
    side = contents.shape[-1]
    with packs.new_pack(folder, stems, [side]) as part:
        packs.writable(part, side)[:] = contents
    return folder


def test_a_pack_gives_back_what_was_written(tmp_path):
    contents = np.random.default_rng(0).integers(0, 256, (5, 3, 8, 8), dtype=np.uint8)
    folder = write_pack(tmp_path / "lr", "abcde", contents)
    assert torch.equal(packs.read_pack(folder), torch.from_numpy(contents))
    assert packs.read_stems(folder) == tuple("abcde")
    packs.read_pack(folder)[0] = 0
    assert torch.equal(packs.read_pack(folder), torch.from_numpy(contents))


def test_a_pack_that_fails_leaves_the_old_one_and_nothing_half_written(tmp_path):
    old = np.full((1, 3, 4, 4), 9, np.uint8)
    folder = write_pack(tmp_path / "lr", "a", old)
    with pytest.raises(KeyboardInterrupt), packs.new_pack(folder, "b", [4]):
        raise KeyboardInterrupt
    assert torch.equal(packs.read_pack(folder), torch.from_numpy(old))
    assert [path.name for path in tmp_path.iterdir()] == ["lr"]


def test_a_pack_larger_than_the_disk_is_refused_before_it_is_written(tmp_path):
    with (
        pytest.raises(DataError, match=r"needs 3000000\d*\.00 GB and the disk has .* GB left"),
        packs.new_pack(tmp_path / "lr", "a", [1_000_000_000]),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_a_damaged_pack_is_named(tmp_path):
    folder = write_pack(tmp_path / "lr", "ab", np.zeros((2, 3, 4, 4), np.uint8))
    (folder / packs.STEMS).write_text("a\n")
    with pytest.raises(DataError, match="names 1 images and holds 2"):
        packs.read_pack(folder)
    (folder / "4.npy").write_bytes((folder / "4.npy").read_bytes()[:-10])
    with pytest.raises(DataError, match=r"4\.npy is damaged"):
        packs.read_pack(folder)


def test_pairs_come_from_packs_and_from_image_files_alike(tmp_path):
    lr, hr = (images.to_uint8(torch.stack([face(s), face(s).flip(-1)])) for s in (16, 64))
    for kind, contents in (("lr", lr), ("hr", hr)):
        write_pack(tmp_path / "packs" / kind, "ab", contents.numpy())
        for stem, image in zip("ab", contents, strict=True):
            path = tmp_path / "files" / kind / f"{stem}.png"
            images.write(path, images.from_uint8(image))
    for where in ("packs", "files"):
        pairs = load_pairs(tmp_path / where / "lr", tmp_path / where / "hr", hr_size=64)
        assert pairs.stems == ("a", "b")
        assert pairs.fresh is None
        assert torch.equal(pairs.lr, lr)
        assert torch.equal(pairs.hr, hr)
    views = FreshViews(Degradation("gfpgan", RECIPES), (0.25, 1.0))
    (tmp_path / "packs/lr" / FRESH).write_text(views.to_json())
    fresh = load_pairs(tmp_path / "packs/lr", tmp_path / "packs/hr", hr_size=64).fresh
    assert fresh.degradation.name == "gfpgan"
    assert fresh.sizes == (0.25, 1.0)


def test_packs_of_other_faces_or_sizes_are_refused(tmp_path):
    lr = write_pack(tmp_path / "lr", "ab", np.zeros((2, 3, 16, 16), np.uint8))
    hr = write_pack(tmp_path / "hr", "ac", np.zeros((2, 3, 64, 64), np.uint8))
    with pytest.raises(DataError, match="b is in one of them only"):
        load_pairs(lr, hr, hr_size=64)
    with pytest.raises(DataError, match="holds images of 64 px where 32 is needed"):
        load_pairs(lr, hr, hr_size=32)
    with pytest.raises(DataError, match="holds no images"):
        load_pairs(tmp_path / "none", hr, hr_size=64)


def test_the_file_of_a_recipe_is_plain_json():
    assert list(json.loads(Degradation("gfpgan", RECIPES).to_json())) == ["gfpgan"]

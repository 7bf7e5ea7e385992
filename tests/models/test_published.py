"""Files of published networks: where they are found, and what is refused."""

import pytest
import torch
from safetensors.torch import save_file

from facesr.errors import CheckpointError, ParamsError
from facesr.models import published

SHAPES = ((4, 3, 5, 5), (6, 4, 3, 3))


@pytest.fixture
def places(tmp_path, monkeypatch):
    """The named folder and torchvision's cache, empty."""
    named, cache = tmp_path / "named", tmp_path / "hub" / "checkpoints"
    named.mkdir()
    cache.mkdir(parents=True)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setenv(published.VARIABLE, str(named))
    return named, cache


def layers(shapes=SHAPES):
    return [(torch.randn(shape), torch.randn(shape[0])) for shape in shapes]


def as_torchvision(layers):
    # Activations and poolings take positions, and a classifier follows.
    tensors = {"classifier.1.weight": torch.zeros(2, 2), "classifier.1.bias": torch.zeros(2)}
    for number, (weight, bias) in enumerate(layers):
        tensors |= {f"features.{3 * number}.weight": weight, f"features.{3 * number}.bias": bias}
    return tensors


def as_plain(layers):
    parts = {"weight": 0, "bias": 1}
    return {
        f"conv{number}.{part}": layer[position].half()
        for number, layer in enumerate(layers)
        for part, position in parts.items()
    }


def test_the_named_folder_comes_before_the_cache(places):
    named, cache = places
    assert published.find("a.pth", "b.pth") is None
    (cache / "a.pth").touch()
    assert published.find("a.pth", "b.pth") == cache / "a.pth"
    (named / "b.pth").touch()
    assert published.find("a.pth", "b.pth") == named / "b.pth"


def test_the_cache_serves_where_no_folder_is_named(places, monkeypatch):
    monkeypatch.delenv(published.VARIABLE)
    (places[1] / "a.pth").touch()
    assert published.find("a.pth") == places[1] / "a.pth"


def test_a_named_folder_that_does_not_exist_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv(published.VARIABLE, str(tmp_path / "gone"))
    with pytest.raises(ParamsError, match=r"FACESR_WEIGHTS=.*gone is no folder"):
        published.find("a.pth")


def test_both_kinds_of_files_give_the_same_layers(tmp_path):
    expected = [(weight.half().float(), bias.half().float()) for weight, bias in layers()]
    torch.save(as_torchvision(expected), tmp_path / "a.pth")
    save_file(as_plain(expected), tmp_path / "a.safetensors")
    for name in ("a.pth", "a.safetensors"):
        found = published.read_convolutions(tmp_path / name, SHAPES)
        for own, other in zip(sum(found, ()), sum(expected, ()), strict=True):
            assert own.dtype == torch.float32
            assert torch.equal(own, other)


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
@pytest.mark.parametrize("content", [b"", b"no tensors at all", None])
def test_a_damaged_file_is_refused(tmp_path, name, content):
    path = tmp_path / name
    if content is None:
        save = save_file if path.suffix == ".safetensors" else torch.save
        save(as_torchvision(layers()), path)
        content = path.read_bytes()[:-100]
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{name} is damaged"):
        published.read_convolutions(path, SHAPES)


@pytest.mark.parametrize("shapes", [SHAPES[:1], ((4, 3, 3, 3), SHAPES[1])])
@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_another_network_is_refused(tmp_path, name, shapes):
    path = tmp_path / name
    if path.suffix == ".safetensors":
        save_file(as_plain(layers(shapes)), path)
    else:
        torch.save(as_torchvision(layers(shapes)), path)
    with pytest.raises(CheckpointError, match=rf"{name} holds another network"):
        published.read_convolutions(path, SHAPES)


def test_a_file_of_something_else_than_tensors_is_refused(tmp_path):
    torch.save([1, 2], tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="holds another network"):
        published.read_convolutions(tmp_path / "a.pth", SHAPES)

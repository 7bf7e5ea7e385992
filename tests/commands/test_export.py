import pytest
import torch
from tiny import ARCHITECTURE, network
from torch import nn

from facesr import cli
from facesr.models import build
from facesr.models.checkpoints import Network, load_network, load_networks, save_networks

WIDE = {**ARCHITECTURE, "width": 16}


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "generator.safetensors"
    save_networks(path, [network(seed=1, visible=0.05, width=16)])
    return path


def test_two_networks_become_one_file(weights, tmp_path, capsys):
    output = tmp_path / "chain.safetensors"
    cli.main(["export", str(weights), str(weights), "-o", str(output)])
    assert [each.architecture for each in load_networks(output)] == [WIDE, WIDE]
    assert "MB" in capsys.readouterr().out


def test_float16_halves_the_file_and_loads_as_float32_with_nearly_equal_results(weights, tmp_path):
    output = tmp_path / "half.safetensors"
    cli.main(["export", str(weights), "-o", str(output), "--float16"])
    assert output.stat().st_size < 0.6 * weights.stat().st_size
    full, half = load_network(weights).module, load_network(output).module
    assert {tensor.dtype for tensor in half.parameters()} == {torch.float32}
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    difference = (full(image) - half(image)).abs().max().item()
    assert 0 < difference < 1 / 255


def test_a_file_that_is_there_is_not_overwritten(weights, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["export", str(weights), "-o", str(weights)])
    assert stopped.value.code == 1
    assert "already exists" in capsys.readouterr().err
    cli.main(["export", str(weights), "-o", str(weights), "--force"])
    assert load_network(weights).architecture == WIDE


def test_the_mean_of_two_files_has_the_mean_of_their_weights(weights, tmp_path):
    other, output = tmp_path / "other.safetensors", tmp_path / "mean.safetensors"
    save_networks(other, [network(seed=2, visible=0.05, width=16)])
    cli.main(["export", str(weights), "--mean-with", str(other), "-o", str(output)])
    one, two, mean = (load_network(path).module for path in (weights, other, output))
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    assert not torch.equal(one(image), two(image))
    for a, b, middle in zip(one.parameters(), two.parameters(), mean.parameters(), strict=True):
        assert torch.equal(middle, (a + b) / 2)


def test_networks_that_count_their_batches_have_a_mean_too(tmp_path):
    architecture = {
        **{"kind": "fastai_unet", "backbone": "resnet18", "pretrained": False},
        **{"self_attention": False, "scale": 2},
    }
    files = [tmp_path / f"{seen}.safetensors" for seen in (3, 5)]
    for seen, file in zip((3, 5), files, strict=True):
        module = build(architecture)
        for norm in module.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.num_batches_tracked.fill_(seen)
                norm.running_mean.fill_(seen)
        save_networks(file, [Network(architecture, module)])
    output = tmp_path / "mean.safetensors"
    cli.main(["export", str(files[0]), "--mean-with", str(files[1]), "-o", str(output)])
    norms = [
        one for one in load_network(output).module.modules() if isinstance(one, nn.BatchNorm2d)
    ]
    assert {one.num_batches_tracked.item() for one in norms} == {3}
    assert all((one.running_mean == 4).all() for one in norms)


def test_networks_of_two_architectures_have_no_mean(weights, tmp_path, capsys):
    other, output = tmp_path / "other.safetensors", tmp_path / "mean.safetensors"
    save_networks(other, [network(width=8)])
    with pytest.raises(SystemExit) as stopped:
        cli.main(["export", str(weights), "--mean-with", str(other), "-o", str(output)])
    assert stopped.value.code == 1
    assert "several architectures have no mean" in capsys.readouterr().err
    assert not output.exists()

import pytest
import torch
from tiny import ARCHITECTURE, network, with_fidelity, with_grain

from facesr import tracking
from facesr.errors import CheckpointError, RegistryError
from facesr.models.checkpoints import average, load_start, save_networks


@pytest.fixture
def chain(tmp_path):
    path = tmp_path / "chain.safetensors"
    networks = [network(scale=4), network(backbone="vgg16_bn", seed=1)]
    save_networks(path, networks)
    return path, networks


@pytest.mark.parametrize("position", [0, 1])
def test_of_a_chain_the_network_whose_architecture_fits_is_taken(chain, position):
    path, networks = chain
    found = load_start(path, networks[position].architecture, faithful=True)
    expected = networks[position].module.state_dict()
    assert all(torch.equal(t, expected[name]) for name, t in found.module.state_dict().items())


def test_a_network_gets_more_blocks_restores_as_before_and_can_learn(tmp_path):
    path = tmp_path / "chain.safetensors"
    shallow, deeper = network(body_blocks=1), network(body_blocks=2, seed=1)
    save_networks(path, [shallow, deeper])
    lr = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    found = load_start(path, {**ARCHITECTURE, "body_blocks": 4}, faithful=True)
    assert found.architecture["body_blocks"] == 4
    # Of two networks that would do, the one that lacks less.
    assert torch.equal(found.module(lr), deeper.module(lr))
    found.module(lr).square().mean().backward()
    assert all(block.second.weight.grad.abs().max() > 0 for block in found.module.body)


def test_a_network_loses_no_blocks(chain):
    with pytest.raises(CheckpointError, match=r"holds \(body_blocks 1\) .*has \(.*body_blocks 0,"):
        load_start(chain[0], {**ARCHITECTURE, "body_blocks": 0, "scale": 4}, faithful=True)


def test_a_start_leaves_its_grain_behind(tmp_path):
    path = tmp_path / "grained.safetensors"
    given = network(body_blocks=1)
    save_networks(path, [with_grain(given, 0.05)])
    found = load_start(path, {**ARCHITECTURE, "body_blocks": 2}, faithful=True)
    lr = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert "grain" not in found.architecture
    assert torch.equal(found.module(lr), given.module(lr))


def test_a_start_has_one_set_of_weights_the_faithful_or_the_other(tmp_path):
    path = tmp_path / "crisp.safetensors"
    given = with_fidelity(network())
    save_networks(path, [given])
    for faithful, weights in ((True, given.fidelity), (False, given.module.state_dict())):
        start = load_start(path, ARCHITECTURE, faithful=faithful)
        assert start.fidelity is None
        assert torch.equal(start.module.state_dict()["head.0.weight"], weights["head.0.weight"])


def test_another_architecture_is_refused_in_one_line_that_names_both(chain):
    with pytest.raises(
        CheckpointError,
        match=r"it holds \(scale 4, width 4\) and \(backbone vgg16_bn, scale 2, width 4\); "
        r"the training's network has \(.*kind residual_unet, .*scale 8, .*width 8\)\.",
    ) as error:
        load_start(chain[0], {**ARCHITECTURE, "width": 8, "scale": 8}, faithful=True)
    assert "\n" not in str(error.value)


def test_another_kind_is_named_with_all_its_values(chain):
    with pytest.raises(
        CheckpointError, match=r"\(.*kind residual_unet, .*has \(kind fastai_unet, scale 4"
    ):
        load_start(chain[0], {"kind": "fastai_unet", "scale": 4}, faithful=True)


def test_a_reference_is_nothing_a_file_or_a_version(tmp_path):
    assert tracking.find_weights(tmp_path, "") is None
    file = tmp_path / "models" / "generator.safetensors"
    assert tracking.find_weights(tmp_path, "models/generator.safetensors") == file
    with pytest.raises(RegistryError, match="facesr/3 is not registered"):
        tracking.find_weights(tmp_path, "facesr/3")
    with pytest.raises(RegistryError, match="does not name a model version"):
        tracking.find_weights(tmp_path, "models/generator")


def test_the_mean_of_networks_has_the_mean_of_their_weights():
    one, other = network(), network()
    with torch.no_grad():
        for mine, theirs in zip(one.module.parameters(), other.module.parameters(), strict=True):
            mine.fill_(1.0)
            theirs.fill_(4.0)
    mean = average([one, other])
    assert all((weights == 2.5).all() for weights in mean.module.parameters())
    assert all((weights == 1).all() for weights in one.module.parameters())


def test_networks_of_two_depths_have_no_mean():
    with pytest.raises(CheckpointError, match="several architectures"):
        average([network(), network(body_blocks=2)])

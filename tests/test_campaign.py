import pytest
import tiny
import torch

from benchmarks.campaign import average, deepen


def test_a_deeper_network_restores_as_the_one_it_began_with_and_can_learn():
    shallow = tiny.network()
    deep = deepen(shallow, 3)
    lr = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(deep.module(lr), shallow.module(lr))
    assert deep.architecture["body_blocks"] == 3
    deep.module(lr).square().mean().backward()
    assert all(block.second.weight.grad.abs().max() > 0 for block in deep.module.body)


def test_blocks_cannot_be_taken_away():
    with pytest.raises(SystemExit, match="only add body blocks"):
        deepen(tiny.network(body_blocks=2), 1)


def test_the_mean_of_networks_has_the_mean_of_their_weights():
    one, other = tiny.network(), tiny.network()
    with torch.no_grad():
        for mine, theirs in zip(one.module.parameters(), other.module.parameters(), strict=True):
            mine.fill_(1.0)
            theirs.fill_(4.0)
    mean = average([one, other])
    assert all((weights == 2.5).all() for weights in mean.module.parameters())
    assert all((weights == 1).all() for weights in one.module.parameters())


def test_networks_of_two_architectures_have_no_mean():
    with pytest.raises(SystemExit, match="one architecture"):
        average([tiny.network(), tiny.network(body_blocks=2)])

import pytest
import tiny
import torch

from benchmarks.campaign import deepen


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

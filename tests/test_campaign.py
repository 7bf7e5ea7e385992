import pytest
import tiny
import torch

from benchmarks.campaign import average


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

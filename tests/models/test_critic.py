import pytest
import torch

from facesr.models import build

FASTAI = {"kind": "critic", "features": 128, "blocks": 3, "dropout": 0.15}


@pytest.mark.parametrize(("side", "patches"), [(64, 1), (96, 9), (128, 25)])
def test_the_critic_gives_one_logit_for_each_patch(side, patches):
    critic = build({**FASTAI, "features": 8})
    assert critic(torch.rand(2, 3, side, side)).shape == (2, patches)


def test_fastais_numbers_give_fastais_critic():
    assert sum(p.numel() for p in build(FASTAI).parameters()) == pytest.approx(44.7e6, rel=0.01)

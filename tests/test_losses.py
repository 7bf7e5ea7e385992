import math

import pytest
import torch

from facesr import losses
from facesr.losses import CONTENT_LOSSES


def flat(*colours):
    return torch.tensor(colours).view(1, 3, 1, 1).expand(2, 3, 4, 4)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mse", 0.04),
        ("l1", 0.2),
        ("charbonnier", math.sqrt(0.04 + 1e-6)),
        ("normalised_mse", (0.04 / 0.229**2 + 0.04 / 0.224**2 + 0.04 / 0.225**2) / 3),
    ],
)
def test_a_constant_difference_gives_the_value_computed_by_hand(name, expected):
    loss = CONTENT_LOSSES[name](flat(0.7, 0.7, 0.7), flat(0.5, 0.5, 0.5))
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("name", "least"), [("mse", 0), ("l1", 0), ("charbonnier", 1e-3)])
def test_equal_pictures_have_the_least_loss(name, least):
    hr = torch.rand(1, 3, 8, 8)
    assert CONTENT_LOSSES[name](hr, hr).item() == pytest.approx(least, abs=1e-7)


def test_a_critic_that_is_right_has_a_low_loss_and_a_wrong_one_a_high_loss():
    sure_original, sure_generated = torch.full((2, 5), 4.0), torch.full((2, 5), -4.0)
    right = losses.critic_loss(sure_original, sure_generated)
    wrong = losses.critic_loss(sure_generated, sure_original)
    assert right.item() == pytest.approx(math.log(1 + math.exp(-4)), rel=1e-4)
    assert wrong.item() == pytest.approx(math.log(1 + math.exp(4)), rel=1e-4)


def test_an_undecided_critic_loses_the_logarithm_of_two():
    assert losses.critic_loss(torch.zeros(1, 3), torch.zeros(1, 3)).item() == pytest.approx(
        math.log(2)
    )


def test_the_generator_wants_to_be_taken_for_an_original():
    assert losses.adversarial_loss(torch.full((1, 3), 4.0)).item() == pytest.approx(
        math.log(1 + math.exp(-4)), rel=1e-4
    )
    logits = torch.zeros(1, 3, requires_grad=True)
    losses.adversarial_loss(logits).backward()
    assert (logits.grad < 0).all()

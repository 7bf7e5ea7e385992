import copy
from types import SimpleNamespace

import pytest
import torch
from fastai.callback.core import Callback
from fastai.data.core import DataLoaders
from fastai.optimizer import Adam
from fastai.vision.gan import FixedGANSwitcher, GANLearner
from torch import nn
from torch.nn import functional as F

from facesr.losses import ADVERSARIAL_LOSSES
from facesr.models import build
from facesr.training.average import ExponentialMovingAverage
from facesr.training.steps import build_optimizer, critic_step, frozen, generator_step

CRITICS = {
    "patch_critic": {"features": 4, "blocks": 1, "dropout": 0.0},
    "unet_critic": {"features": 4},
    "global_critic": {"features": 4, "side": 16},
}
CRITIC = {"kind": "patch_critic", **CRITICS["patch_critic"]}
PARAMS = SimpleNamespace(weight_decay=1e-3, beta1=0.0, beta2=0.99, epsilon=1e-5)


class Tiny(nn.Module):
    """A generator with batch statistics, whose movement a test can see."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 3, 1),
        )

    def forward(self, x):
        return self.layers(x)


@pytest.fixture
def nets():
    torch.manual_seed(3)
    return Tiny(), build(CRITIC)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(5)
    hr = torch.rand(2, 3, 32, 32, generator=generator)
    return F.avg_pool2d(hr, 3, stride=1, padding=1), hr


def state(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def optimizers(generator, critic):
    return (
        build_optimizer(generator, PARAMS, learning_rate=1e-3),
        build_optimizer(critic, PARAMS, learning_rate=1e-3),
    )


def one_critic_step(generator, critic, optimizer, lr, hr, form="vanilla", penalty_weight=0.0):
    return critic_step(
        generator,
        critic,
        optimizer,
        lr,
        hr,
        adversarial_loss=ADVERSARIAL_LOSSES[form],
        penalty_weight=penalty_weight,
    )


def one_generator_step(
    generator, critic, optimizer, lr, hr, weight=1.0, form="vanilla", features=0.0, texture=0.0
):
    return generator_step(
        generator,
        critic,
        optimizer,
        lr,
        hr,
        content_loss=lambda sr, hr: 50 * F.mse_loss(sr, hr),
        adversarial_loss=ADVERSARIAL_LOSSES[form],
        adversarial_weight=weight,
        feature_weight=features,
        texture_weight=texture,
    )


def test_a_critic_step_leaves_the_generator_bit_for_bit(nets, batch):
    generator, critic = nets
    before, before_critic = state(generator), state(critic)
    one_critic_step(generator, critic, optimizers(*nets)[1], *batch)
    assert same(before, state(generator))
    assert not same(before_critic, state(critic))


def test_a_generator_step_leaves_the_critic_bit_for_bit(nets, batch):
    generator, critic = nets
    critic(batch[1])
    before, before_generator = state(critic), state(generator)
    one_generator_step(generator, critic, optimizers(*nets)[0], *batch)
    assert same(before, state(critic))
    assert not same(before_generator, state(generator))
    assert all(parameter.grad is None for parameter in critic.parameters())


@pytest.mark.parametrize("kind", CRITICS)
@pytest.mark.parametrize("form", ADVERSARIAL_LOSSES)
def test_every_critic_plays_every_form(kind, form, batch):
    torch.manual_seed(3)
    nets = Tiny(), build({"kind": kind, **CRITICS[kind]})
    before_generator, before_critic = state(nets[0]), state(nets[1])
    optimizer, critic_optimizer = optimizers(*nets)
    judged = one_critic_step(*nets, critic_optimizer, *batch, form=form, penalty_weight=10.0)
    assert same(before_generator, state(nets[0]))
    between = state(nets[1])
    assert not same(before_critic, between)
    stepped = one_generator_step(*nets, optimizer, *batch, form=form, features=1.0, texture=1.0)
    assert same(between, state(nets[1]))
    assert not same(before_generator, state(nets[0]))
    assert all(value.isfinite() for value in (*judged, *stepped))


def test_the_parts_of_the_generators_loss_add_up(nets, batch):
    generator, critic = nets
    still = torch.optim.SGD(generator.parameters(), lr=0.0)
    step = one_generator_step(*nets, still, *batch, weight=0.5, features=2.0, texture=3.0)
    assert step.loss.item() == pytest.approx(
        (step.content + 0.5 * step.adversarial + step.matching).item(), rel=1e-5
    )
    alone = one_generator_step(*nets, still, *batch, features=1.0).matching
    twice = one_generator_step(*nets, still, *batch, features=2.0).matching
    assert twice.item() == pytest.approx(2 * alone.item(), rel=1e-4)
    assert one_generator_step(*nets, still, *batch).matching.item() == 0


def test_freezing_ends_with_the_block_and_spares_what_was_frozen(nets):
    generator, _ = nets
    generator.layers[3].bias.requires_grad_(False)
    with frozen(generator):
        assert not any(p.requires_grad for p in generator.parameters())
    assert [n for n, p in generator.named_parameters() if not p.requires_grad] == ["layers.3.bias"]


def test_the_critic_learns_to_distinguish_the_two(nets, batch):
    generator, critic = nets
    optimizer = optimizers(*nets)[1]
    first = one_critic_step(generator, critic, optimizer, *batch)
    for _ in range(30):
        last = one_critic_step(generator, critic, optimizer, *batch)
    assert last.loss < first.loss
    assert last.original_probability > 0.5 > last.generated_probability


def test_thirty_steps_overfit_one_pair(nets, batch):
    generator, critic = nets
    optimizer = build_optimizer(generator, PARAMS, learning_rate=1e-2)
    first = one_generator_step(generator, critic, optimizer, *batch, weight=1e-3)
    for _ in range(30):
        last = one_generator_step(generator, critic, optimizer, *batch, weight=1e-3)
    assert last.content < 0.5 * first.content


def test_the_average_follows_its_formula_and_copies_whole_numbers():
    network = nn.BatchNorm1d(1)
    average = ExponentialMovingAverage(network, decay=0.9)
    with torch.no_grad():
        network.weight.fill_(2.0)
        network.num_batches_tracked.fill_(7)
    average.update(network)
    assert average.tensors["weight"].item() == pytest.approx(0.9 * 1 + 0.1 * 2)
    assert average.tensors["num_batches_tracked"].item() == 7
    average.copy_to(network)
    assert network.weight.item() == pytest.approx(1.1)


def test_biases_and_norms_do_not_decay(nets):
    decayed, spared = optimizers(*nets)[0].param_groups
    assert decayed["weight_decay"] == 1e-3
    assert {p.ndim for p in decayed["params"]} == {4}
    assert spared["weight_decay"] == 0
    assert {p.ndim for p in spared["params"]} == {1}


class DropFrozenGrads(Callback):
    """fastai steps both networks at each batch; this keeps the one whose turn it is not."""

    order = -1

    def before_step(self):
        idle = self.learn.model.critic if self.gan_trainer.gen_mode else self.learn.model.generator
        for parameter in idle.parameters():
            parameter.grad = None


class EvalIdle(Callback):
    """The first batch of an epoch finds both networks in training mode; ours never does."""

    order = 100

    def before_batch(self):
        self.learn.model.generator.train(self.gan_trainer.gen_mode)
        self.learn.model.critic.train(not self.gan_trainer.gen_mode)


@pytest.mark.filterwarnings("ignore:.*shadowing an attribute")
def test_one_step_of_each_agrees_with_fastais_ganlearner(nets, batch, monkeypatch):
    monkeypatch.setattr("fastai.callback.core.default_device", lambda: torch.device("cpu"))
    generator, critic = nets
    ours = copy.deepcopy(generator), copy.deepcopy(critic)
    lr, hr = batch
    learner = GANLearner(
        DataLoaders([(lr, hr), (lr, hr)], [(lr, hr)], device=torch.device("cpu")),
        generator,
        critic,
        lambda fake, output, target: (
            F.binary_cross_entropy_with_logits(fake, torch.ones_like(fake))
            + 50 * F.mse_loss(output, target)
        ),
        lambda real, fake: (
            (
                F.binary_cross_entropy_with_logits(real, torch.ones_like(real))
                + F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))
            )
            / 2
        ),
        switcher=FixedGANSwitcher(1, 1),
        switch_eval=True,
        opt_func=lambda groups, lr: Adam(groups, lr, mom=0.0, sqr_mom=0.99, eps=1e-5, wd=1e-3),
        cbs=[DropFrozenGrads(), EvalIdle()],
    )
    with learner.no_bar(), learner.no_logging():
        learner.fit(1, 1e-3)

    generator_optimizer, critic_optimizer = optimizers(*ours)
    one_critic_step(*ours, critic_optimizer, lr, hr)
    one_generator_step(*ours, generator_optimizer, lr, hr)
    for theirs, mine in zip((generator, critic), ours, strict=True):
        for (name, a), b in zip(theirs.named_parameters(), mine.parameters(), strict=True):
            assert torch.allclose(a, b, atol=1e-5), name

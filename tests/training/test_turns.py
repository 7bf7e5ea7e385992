"""Steps in parts and on several processes have the gradients of the whole batch."""

from types import SimpleNamespace

import pytest
import tiny
import torch
from launching import launch_two
from torch.nn import functional as F

from facesr.losses import ADVERSARIAL_LOSSES
from facesr.models import build
from facesr.training.engine import MicroBatches
from facesr.training.processes import Processes
from facesr.training.turns import Turns

CPU = torch.device("cpu")
ALONE = Processes(0, 1, CPU)
BATCH = 8
CRITICS = {
    "patch_critic": {"features": 4, "blocks": 1, "dropout": 0.0},
    "unet_critic": {"features": 4},
    "global_critic": {"features": 4, "side": 16},
}
SIDES = ("critic", "generator")


def batch():
    generator = torch.Generator().manual_seed(5)
    hr = torch.rand(BATCH, 3, 32, 32, generator=generator)
    return F.avg_pool2d(hr, 2), hr


def turns(
    form, *, critic="patch_critic", parts=1, most=BATCH, processes=ALONE, rates=None, **changes
):
    """Both networks, equal at every call, at a rate at which they keep still unless given one."""
    rates = rates or {}
    generator = tiny.network(visible=0.05).module
    torch.manual_seed(3)
    params = SimpleNamespace(
        **{"adversarial_loss": form, "adversarial_weight": 1.0, "gradient_penalty": 10.0},
        **{"feature_weight": 1.0, "texture_weight": 0.01, "weight_decay": 0.0, "epsilon": 1e-5},
        **{"beta1": 0.0, "beta2": 0.9, "ema_decay": 0.9, "batches": 10, "decay_fraction": 0.4},
        **{"critic_threshold": 0.0, "generator_learning_rate": 0.0, "critic_learning_rate": 0.0}
        | rates,
    )
    return Turns(
        generator,
        build({"kind": critic, **CRITICS[critic], **changes}),
        params,
        content_loss=F.l1_loss,
        parts=MicroBatches(parts, most=most, processes=processes),
    )


def step(both, side):
    """A step with the share of its processes: its report, and its gradient as one vector."""
    torch.manual_seed(11 + both.parts.processes.rank)
    lr, hr = (one[both.parts.processes.shard] for one in batch())
    report = getattr(both, f"step_{side}")(lr, hr)
    parameters = getattr(both, side).parameters()
    return report, torch.cat([one.grad.flatten() for one in parameters if one.grad is not None])


def assert_equal_but_for_rounding(mine, whole):
    (report, gradient), (expected, expected_gradient) = mine, whole
    assert (gradient - expected_gradient).norm() < 1e-5 * expected_gradient.norm()
    for name, value, wanted in zip(report._fields, report, expected, strict=True):
        assert float(value) == pytest.approx(float(wanted), rel=1e-5), name


@pytest.mark.parametrize("critic", CRITICS)
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("form", ADVERSARIAL_LOSSES)
def test_four_parts_have_the_gradient_of_the_whole_batch(form, side, critic):
    whole, parted = turns(form, critic=critic), turns(form, critic=critic, parts=4)
    assert_equal_but_for_rounding(step(parted, side), step(whole, side))
    for (name, mine), wanted in zip(
        parted.critic.named_buffers(), whole.critic.buffers(), strict=True
    ):
        assert torch.equal(mine, wanted), name  # Spectral norm moved as far.


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("form", ["vanilla", "relativistic"])
def test_a_batch_halved_for_lack_of_memory_has_the_gradient_of_the_whole(form, side, monkeypatch):
    expected = step(turns(form), side)
    halved = turns(form)
    judge = halved.critic.forward_with_features

    def narrow(x):
        answer = judge(x)
        if len(x) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return answer

    monkeypatch.setattr(halved.critic, "forward_with_features", narrow)
    assert_equal_but_for_rounding(step(halved, side), expected)
    assert halved.parts.count == 4


def test_both_passes_of_a_part_have_the_same_dropout(monkeypatch):
    parted = turns("relativistic", parts=2, dropout=0.5)
    judge, logits = parted.critic.forward_with_features, []

    def remember(x):
        answer = judge(x)
        logits.append(answer.logits.detach())
        return answer

    monkeypatch.setattr(parted.critic, "forward_with_features", remember)
    parted.params.gradient_penalty = 0.0
    step(parted, "critic")
    first, second = logits[:4], logits[4:]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(logits[0], logits[2])


def test_a_whole_batch_is_looked_at_once(monkeypatch):
    calls = []
    alone = turns("relativistic")
    judge = alone.critic.forward_with_features
    monkeypatch.setattr(
        alone.critic, "forward_with_features", lambda x: calls.append(len(x)) or judge(x)
    )
    step(alone, "generator")
    assert calls == [BATCH, BATCH]


@pytest.mark.slow
def test_two_processes_have_the_gradient_of_the_whole_batch(tmp_path):
    (tmp_path / "both.py").write_text(
        "import torch\n"
        "from test_turns import SIDES, step, turns\n"
        "from facesr.losses import ADVERSARIAL_LOSSES\n"
        "from facesr.training.processes import join_processes\n"
        "own = join_processes()\n"
        "made = {\n"
        "    (form, side, parts): step(turns(form, parts=parts, processes=own), side)\n"
        "    for form in ADVERSARIAL_LOSSES for side in SIDES for parts in (1, 4)\n"
        "}\n"
        "means = {\n"
        "    key: (type(report)(*(own.average(value) for value in report)), gradient)\n"
        "    for key, (report, gradient) in made.items()\n"
        "}\n"
        "torch.save({key: (tuple(report), g) for key, (report, g) in means.items()},\n"
        "           f'{own.rank}.pt')\n"
        "own.close()\n"
    )
    done = launch_two("both.py", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    results = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    for form in ADVERSARIAL_LOSSES:
        for side in SIDES:
            whole = step(turns(form), side)
            for parts in (1, 4):
                for made in results:
                    report, gradient = made[form, side, parts]
                    report = type(whole[0])(*report)
                    assert_equal_but_for_rounding((report, gradient), whole)


def test_both_rates_fall_linearly_to_zero_over_the_last_part_of_the_batches():
    both = turns(
        "vanilla",
        critic="global_critic",
        rates={"generator_learning_rate": 1e-3, "critic_learning_rate": 2e-3},
    )
    seen = []
    for _ in range(10):
        both.step(*batch())
        optimizers = both.generator_optimizer.optimizer, both.critic_optimizer.optimizer
        seen.append([optimizer.param_groups[0]["lr"] for optimizer in optimizers])
    shares = [1, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25]
    assert torch.allclose(
        torch.tensor(seen), torch.tensor([[1e-3 * one, 2e-3 * one] for one in shares])
    )

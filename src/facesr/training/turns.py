"""Steps of generator and critic over a whole batch, also in parts and on several processes.

`relativistic` and `softmax` compare every image of a batch with all others. Each part therefore
computes the loss of the whole batch, in which only its own logits carry a gradient: the gradients
add up to that of the whole batch. With parts, a first pass without gradient computes the other
parts' logits (after GradCache, Gao et al. 2021, https://arxiv.org/abs/2101.06983).
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from facesr.config import TrainGanParams
from facesr.losses import ADVERSARIAL_LOSSES, AdversarialLoss
from facesr.losses.adversarial import LogitLoss
from facesr.training.average import ExponentialMovingAverage
from facesr.training.engine import MicroBatches, Report, SharedStep, SpectralVectors, load_optimizer
from facesr.training.processes import Processes
from facesr.training.resume import random_state, set_random_state
from facesr.training.steps import (
    CriticStep,
    GeneratorStep,
    build_optimizer,
    critic_step,
    frozen,
    generator_step,
    judge_for_critic,
    judge_for_generator,
)

Look = Callable[..., tuple[Tensor, Tensor]]
"""Function from a part of a batch to the logits of its originals and generated images, (n, P)."""


class Turns:
    """Both networks with their optimizers, and the order of their steps.

    The critic trains until its loss is below a threshold, then the generator takes one step.

    Attributes:
        parts: Parts of a batch.
        average: Moving average of the generator's weights.
        steps: Finished steps by network.
    """

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        params: TrainGanParams,
        *,
        content_loss: Callable[[Tensor, Tensor], Tensor],
        parts: MicroBatches,
    ) -> None:
        self.generator, self.critic, self.params = generator, critic, params
        self.parts = parts
        self._processes = parts.processes
        self._content_loss = content_loss
        self._loss = ADVERSARIAL_LOSSES[params.adversarial_loss]
        self._spectral = SpectralVectors(critic)
        self.generator_optimizer, self.critic_optimizer = (
            SharedStep(
                build_optimizer(network, params, learning_rate=rate),
                parts=parts.count,
                processes=parts.processes,
            )
            for network, rate in (
                (generator, params.generator_learning_rate),
                (critic, params.critic_learning_rate),
            )
        )

        self.average = ExponentialMovingAverage(generator, decay=params.ema_decay)
        self.steps = {"critic": 0, "generator": 0}
        self._critics_turn = True

    def state(self) -> dict[str, Any]:
        """Return the state for `restore`."""
        return {
            "generator": self.generator.state_dict(),
            "critic": self.critic.state_dict(),
            "generator_optimizer": self.generator_optimizer.optimizer.state_dict(),
            "critic_optimizer": self.critic_optimizer.optimizer.state_dict(),
            "average": self.average.tensors,
            "steps": self.steps,
            "critics_turn": self._critics_turn,
            "parts": self.parts.count,
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Continue from a state."""
        self.generator.load_state_dict(saved["generator"])
        self.critic.load_state_dict(saved["critic"])
        load_optimizer(self.generator_optimizer.optimizer, saved["generator_optimizer"])
        load_optimizer(self.critic_optimizer.optimizer, saved["critic_optimizer"])
        for name, tensor in self.average.tensors.items():
            tensor.copy_(saved["average"][name])
        self.steps = saved["steps"]
        self._critics_turn = saved["critics_turn"]
        self.parts.count = saved["parts"]

    def step(self, lr: Tensor, hr: Tensor) -> dict[str, Tensor]:
        """Train the network whose turn it is, as `step_critic`; return scalars for the curves."""
        self._set_rates()
        if self._critics_turn:
            critic = self.step_critic(lr, hr)
            self.steps["critic"] += 1
            threshold = self.params.critic_threshold
            # The loss costs a wait for the device: nobody looks at it where the turns alternate.
            self._critics_turn = (
                threshold > 0 and self._processes.average(critic.loss).item() >= threshold
            )
            return {
                "critic_loss": critic.loss,
                "original": critic.original_probability,
                "generated": critic.generated_probability,
                "critic_gradient": self.critic_optimizer.gradient_norm(),
            }
        generator = self.step_generator(lr, hr)
        self.steps["generator"] += 1
        self.average.update(self.generator)
        self._critics_turn = True
        return {
            "generator_loss": generator.loss,
            "content_loss": generator.content,
            "adversarial_loss": generator.adversarial,
            "matching_loss": generator.matching,
            "generator_gradient": self.generator_optimizer.gradient_norm(),
        }

    def _set_rates(self) -> None:
        left = self.params.batches - sum(self.steps.values())
        share = min(1.0, max(0, left) / max(1.0, self.params.decay_fraction * self.params.batches))
        for optimizer, rate in (
            (self.generator_optimizer.optimizer, self.params.generator_learning_rate),
            (self.critic_optimizer.optimizer, self.params.critic_learning_rate),
        ):
            for group in optimizer.param_groups:
                group["lr"] = share * rate

    def step_critic(self, lr: Tensor, hr: Tensor) -> CriticStep:
        """Train the critic on this process's shard of a batch, (N, 3, h, w) and (N, 3, H, W)."""
        batch = [lr, hr]
        if self.params.gradient_penalty:
            # Drawn for all processes at once, so that their number changes nothing.
            mix = torch.rand(self._processes.count * len(hr), 1, 1, 1, device=hr.device)
            batch.append(self._processes.from_first(mix)[self._processes.shard])

        def step(loss: AdversarialLoss, *part: Tensor) -> CriticStep:
            return critic_step(
                self.generator,
                self.critic,
                self.critic_optimizer,
                *part,
                adversarial_loss=loss,
                penalty_weight=self.params.gradient_penalty,
            )

        def look(lr: Tensor, hr: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
            original, generated, _sr = judge_for_critic(self.generator, self.critic, lr, hr)
            return original, generated

        return self._run(step, look, self.critic_optimizer, batch)

    def step_generator(self, lr: Tensor, hr: Tensor) -> GeneratorStep:
        """Train the generator on this process's shard of a batch, as `step_critic`."""

        def step(loss: AdversarialLoss, lr: Tensor, hr: Tensor) -> GeneratorStep:
            return generator_step(
                self.generator,
                self.critic,
                self.generator_optimizer,
                lr,
                hr,
                content_loss=self._content_loss,
                adversarial_loss=loss,
                adversarial_weight=self.params.adversarial_weight,
                feature_weight=self.params.feature_weight,
                texture_weight=self.params.texture_weight,
            )

        def look(lr: Tensor, hr: Tensor) -> tuple[Tensor, Tensor]:
            with frozen(self.critic):
                _sr, original, seen = judge_for_generator(
                    self.generator, self.critic, lr, hr, with_originals=True
                )
            return original.logits, seen.logits

        return self._run(step, look, self.generator_optimizer, [lr, hr])

    def _run(
        self,
        step: Callable[..., Report],
        look: Look,
        optimizer: SharedStep,
        batch: Sequence[Tensor],
    ) -> Report:
        """Call `step` with the loss and the tensors of each part; return the mean report."""
        self._spectral.keep()

        def compute(count: int) -> Report:
            optimizer.begin(count)
            chunks = list(zip(*(one.chunk(count) for one in batch), strict=True))
            losses, states = self._losses(look, chunks)
            reports = []
            for part, (loss, chunk) in enumerate(zip(losses, chunks, strict=True)):
                self._spectral.restore()
                if states:
                    set_random_state(states[part])  # The same dropout as in the first pass.
                reports.append(step(loss, *chunk))
            return _mean(reports)

        return self.parts.run(compute, len(batch[0]))

    def _losses(
        self, look: Look, chunks: Sequence[tuple[Tensor, ...]]
    ) -> tuple[list[AdversarialLoss], list[Any]]:
        """Return each part's loss and, where there was a first pass, its random state."""
        if not self._loss.is_relative or len(chunks) * self._processes.count == 1:
            return [self._loss] * len(chunks), []
        seen, states = [], []
        for chunk in chunks if len(chunks) > 1 else ():
            states.append(random_state())
            self._spectral.restore()
            with _unmoved(self.generator, self.critic):
                seen.append(look(*chunk))
        return _see_whole(self._loss, seen, len(chunks), self._processes), states


@contextlib.contextmanager
def _unmoved(*networks: nn.Module) -> Iterator[None]:
    """Compute without gradient, and restore statistics and spectral norms at the end."""
    kept = [(one, one.clone()) for network in networks for one in network.buffers()]
    with torch.no_grad():
        yield
        for buffer, before in kept:
            buffer.copy_(before)


def _see_whole(
    loss: AdversarialLoss, seen: Sequence[tuple[Tensor, Tensor]], count: int, processes: Processes
) -> list[AdversarialLoss]:
    """Return the loss of the whole batch for each of this process's parts.

    Args:
        seen: Logits of originals and generated images, (n, P) each, of each part; empty for a
            single part, whose logits are exchanged when its loss is computed.
    """
    pieces = count * processes.count

    def exchange(parts: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        own = torch.stack([torch.stack(part).detach() for part in parts])  # (parts, 2, n, P)
        return processes.collect(own).flatten(0, 1)  # (pieces, 2, n, P)

    known = exchange(seen) if seen else None

    def of_part(opinion: LogitLoss, part: int) -> LogitLoss:
        position = processes.rank * count + part

        def whole(original: Tensor, generated: Tensor) -> Tensor:
            everything = exchange([(original, generated)]) if known is None else known
            others = torch.cat([everything[:position], everything[position + 1 :]])
            value = opinion(
                torch.cat([original, others[:, 0].flatten(0, 1)]),
                torch.cat([generated, others[:, 1].flatten(0, 1)]),
            )
            # The mean over all pieces follows; the value itself is that of the whole batch already.
            return value.detach() + pieces * (value - value.detach())

        return whole

    return [
        AdversarialLoss(of_part(loss.critic, part), of_part(loss.generator, part), loss.is_relative)
        for part in range(count)
    ]


def _mean(reports: Sequence[Report]) -> Report:
    if len(reports) == 1:
        return reports[0]
    means: Any = [torch.stack(values).mean() for values in zip(*reports, strict=True)]
    return type(reports[0])(*means)  # type: ignore[call-arg, return-value, unused-ignore]

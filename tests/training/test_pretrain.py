import csv
import math
from functools import partial

import numpy as np
import pytest
import torch
from conftest import STAGES, make_project, outs, run_stage
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.optimizer import Adam
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from facesr.config import load_params
from facesr.data.pairs import HR, CriticBatches, Pairs, TrainBatches, load_pairs
from facesr.models import build
from facesr.models.checkpoints import load_network
from facesr.training import learner as learner_module
from facesr.training.critic import patch_accuracy, patch_cross_entropy
from facesr.training.pretrain import split_encoder

RESIDUAL = {
    "kind": "residual_unet",
    "backbone": "resnet18",
    "pretrained": False,
    "width": 8,
    "levels": 2,
    "decoder_blocks": 1,
    "body_blocks": 1,
    "unshuffle": 1,
    "head": "direct",
    "scale": 2,
}


def curve(root, stage, series="curves"):
    with (root / "reports" / stage / f"{series}.csv").open() as file:
        return list(csv.DictReader(file))


def test_equal_seeds_give_equal_weights_and_other_seeds_do_not(trained, tmp_path, monkeypatch):
    again = make_project(tmp_path)
    run_stage("train_generator", again, monkeypatch)
    assert outs("train_generator", again) == outs("train_generator", trained)
    params = again / "params.yaml"
    params.write_text(params.read_text().replace("training_seed: 7", "training_seed: 8"))
    run_stage("train_generator", again, monkeypatch)
    name = "models/generator.safetensors"
    assert (again / name).read_bytes() != (trained / name).read_bytes()


def test_a_bar_shows_only_what_is_known(tmp_path, monkeypatch):
    root = make_project(tmp_path)
    shown = []
    monkeypatch.setattr(tqdm, "set_postfix", lambda self, values: shown.append(values))
    for stage in STAGES:
        run_stage(stage, root, monkeypatch)
    assert not [values for values in shown if "nan" in values.values()]
    names = [tuple(values) for values in shown]
    # The first epoch has three steps; its validation follows them.
    assert names[:6] == 3 * [("loss",)] + 3 * [("loss", "psnr")]
    assert ("generator", "critic", "original", "generated") in names


def phase(**changes):
    usual = {"crop_size": 16, "batch_size": 4, "epochs": 1, "learning_rate": 1e-3}
    return {**usual, "encoder_learning_rate": 1e-3, **changes}


def encoder_and_rest(root):
    encoder, rest = split_encoder(load_network(root / "models/generator.safetensors").module)
    return [one.detach().clone() for one in encoder], [one.detach().clone() for one in rest]


def test_a_frozen_encoder_does_not_move_and_the_rest_does(tmp_path, monkeypatch):
    root = make_project(tmp_path, train_generator__phases=[phase(encoder_learning_rate=0.0)])
    params = load_params(root / "params.yaml").train_generator
    torch.manual_seed(7)
    fresh = build({**params.network.model_dump(), "scale": 2})
    run_stage("train_generator", root, monkeypatch)
    encoder, rest = encoder_and_rest(root)
    before, before_rest = split_encoder(fresh)
    assert all(torch.equal(a, b) for a, b in zip(before, encoder, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(before_rest, rest, strict=True))


def test_an_epsilon_far_above_the_gradients_keeps_the_weights_still(tmp_path, monkeypatch):
    root = make_project(tmp_path, train_generator__epsilon=1e9, train_generator__weight_decay=0.0)
    params = load_params(root / "params.yaml").train_generator
    torch.manual_seed(7)
    _, before = split_encoder(build({**params.network.model_dump(), "scale": 2}))
    run_stage("train_generator", root, monkeypatch)
    _, after = encoder_and_rest(root)
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(before, after, strict=True))


def test_a_second_phase_thaws_the_encoder(tmp_path, monkeypatch):
    frozen = phase(encoder_learning_rate=0.0)
    root = make_project(tmp_path, train_generator__phases=[frozen])
    run_stage("train_generator", root, monkeypatch)
    before, _ = encoder_and_rest(root)
    other = make_project(root, train_generator__phases=[frozen, phase()])
    run_stage("train_generator", other, monkeypatch)
    after, _ = encoder_and_rest(other)
    assert not all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_phases_grow_the_crops(tmp_path, monkeypatch):
    seen = []
    cut = TrainBatches.__iter__

    def watched(self):
        for lr, hr in cut(self):
            seen.append((tuple(lr.shape), tuple(hr.shape)))
            yield lr, hr

    monkeypatch.setattr(TrainBatches, "__iter__", watched)
    phases = [phase(crop_size=8, batch_size=6), phase(crop_size=24, batch_size=3)]
    root = make_project(tmp_path, train_generator__phases=phases)
    run_stage("train_generator", root, monkeypatch)
    assert seen == [((6, 3, 8, 8), (6, 3, 16, 16))] * 2 + [((3, 3, 24, 24), (3, 3, 48, 48))] * 4
    assert len(curve(root, "train_generator")) == 6
    assert len(curve(root, "train_generator", "valid")) == 2


def test_rates_rise_and_fall_in_one_cycle_and_the_encoder_keeps_its_own(tmp_path, monkeypatch):
    rates = []

    class Watched(learner_module.AdamW):
        def step(self, closure=None):
            rates.append([group["lr"] for group in self.param_groups])
            moms.append(self.param_groups[0]["betas"][0])
            return super().step(closure)

    moms = []
    monkeypatch.setattr(learner_module, "AdamW", Watched)
    root = make_project(
        tmp_path, train_generator__phases=[phase(epochs=4, encoder_learning_rate=1e-4)]
    )
    run_stage("train_generator", root, monkeypatch)
    count, warmup = 12, 0.2

    def cosine(start, end, position):
        return start + (1 + math.cos(math.pi * (1 - position))) * (end - start) / 2

    for step, (encoder, spared_encoder, rest, spared_rest) in enumerate(rates):
        position = step / count
        expected = (
            cosine(1e-3 / 25, 1e-3, position / warmup)
            if position < warmup
            else cosine(1e-3, 1e-3 / 1e5, (position - warmup) / (1 - warmup))
        )
        assert rest == spared_rest == pytest.approx(expected, rel=1e-4)
        assert encoder == spared_encoder == pytest.approx(expected / 10, rel=1e-4)
    assert min(moms) >= 0.85
    assert moms[0] == 0.95


def test_the_fused_step_is_fastais_adam():
    torch.manual_seed(0)
    ours = build(RESIDUAL)
    theirs = build(RESIDUAL)
    theirs.load_state_dict(ours.state_dict())
    batches = [(torch.rand(2, 3, 16, 16), torch.rand(2, 3, 32, 32)) for _ in range(4)]

    class Batches(list):
        def go_to(self, epoch, batch):
            pass

    def train(network, opt_func, wd, **extra):
        dls = DataLoaders(Batches(batches), Batches(batches[:1]), device=torch.device("cpu"))
        learn = Learner(dls, network, loss_func=F.l1_loss, opt_func=opt_func, wd=wd, **extra)
        with learn.no_bar(), learn.no_logging():
            learn.fit_one_cycle(1, 1e-2)

    spared = {id(one) for one in learner_module.norm_bias_params(ours)}
    groups = [
        [one for one in ours.parameters() if id(one) not in spared],
        [one for one in ours.parameters() if id(one) in spared],
    ]
    fused = partial(learner_module._optimizer, epsilon=1e-5)  # fastai's own
    train(ours, fused, [0.1, 0.0], splitter=lambda _: groups)
    train(theirs, Adam, 0.1)
    for (name, mine), one in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        # Near a gradient of zero the two round to different directions; a wrong decay costs 1e-3.
        assert torch.allclose(mine, one, atol=2e-4), name


def test_the_critics_labels_are_one_for_originals(trained):
    pairs = load_pairs(
        trained / "data/generated/generator/train", trained / "data/pairs/train" / HR, hr_size=48
    )
    marked = Pairs(pairs.stems, torch.zeros_like(pairs.lr), torch.full_like(pairs.hr, 255))
    for faces, labels in CriticBatches(marked, batch_size=4, crop_size=8, seed=1):
        assert faces.shape == (4, 3, 8, 8)
        assert torch.equal(faces.amax((1, 2, 3)), labels)


def test_the_patches_of_an_image_share_its_label():
    logits = torch.tensor([[3.0, -1.0], [-2.0, -2.0]])
    labels = torch.tensor([1.0, 0.0])
    softplus = [math.log1p(math.exp(x)) for x in (-3.0, 1.0, -2.0, -2.0)]
    assert patch_cross_entropy(logits, labels).item() == pytest.approx(np.mean(softplus))
    assert patch_accuracy(logits, labels).item() == 0.75


def test_every_series_is_drawn_and_sampled(trained):
    for stage in ("train_generator", "train_critic", "train_gan", "train_upsampler"):
        report = trained / "reports" / stage
        for table in report.glob("*.csv"):
            assert table.with_suffix(".png").stat().st_size > 1000
        assert list((report / "samples").glob("step*.png"))
        assert (report / "gradients.csv").is_file()
    assert float(curve(trained, "train_generator", "gradients")[0]["norm"]) > 0


def test_the_kept_generator_is_that_of_the_training(trained):
    network = load_network(trained / "models/generator.safetensors").module
    assert isinstance(network, nn.Module)
    assert not torch.equal(next(iter(network.head.parameters())), torch.zeros(1))

import shutil

import pytest
import torch
from conftest import make_project
from PIL import Image
from safetensors.torch import load_file

from facesr import cli, paths
from facesr.config import load_params
from facesr.training.find_rate import find_rate
from facesr.training.learner import AccumulatingLearner
from facesr.training.pretrain import regression_task


@pytest.mark.parametrize("stage", ["train_generator", "train_critic", "train_upsampler"])
def test_a_search_draws_its_image(stage, trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(trained)
    image = tmp_path / "rates.png"
    cli.main(["find-rate", stage, "-o", str(image), "--steps", "8"])
    with Image.open(image) as opened:
        assert opened.size == (880, 495)
    said = capsys.readouterr().out
    assert "rate with the lowest loss is" in said
    assert "8 steps are too few to go by that" in said


def test_rates_grow_by_a_constant_factor_and_divergence_ends_the_search(trained):
    params = load_params(trained / "params.yaml")
    task = regression_task(
        params.train_generator,
        params.training,
        [(trained / lr, trained / hr) for lr, hr in paths.GENERATOR_DATA],
        hr_size=params.sizes.generator_size,
        init_from=None,
        seed=params.training_seed,
    )
    found = find_rate(task, params.training, lowest=1e-4, highest=1e4, steps=33)
    assert found.rates[1] / found.rates[0] == pytest.approx(10 ** (8 / 33))
    assert 2 < len(found.rates) < 33
    best = found.rates[found.losses.index(min(found.losses))]
    assert found.suggestion == pytest.approx(best / 10)


def test_a_search_starts_from_the_weights_that_the_stage_starts_from(
    trained, tmp_path, monkeypatch
):
    root = tmp_path / "project"
    root.mkdir()
    make_project(root, train_generator__init_from="start.safetensors")
    shutil.copyfile(trained / "models/generator.safetensors", root / "start.safetensors")
    monkeypatch.chdir(root)
    started = []
    accumulate = AccumulatingLearner._do_one_batch

    def remember(learner):
        started.append({name: one.clone() for name, one in learner.model.state_dict().items()})
        accumulate(learner)

    monkeypatch.setattr(AccumulatingLearner, "_do_one_batch", remember)
    cli.main(["find-rate", "train_generator", "-o", str(tmp_path / "rates.png"), "--steps", "6"])
    for name, tensor in load_file(root / "start.safetensors").items():
        assert torch.equal(started[0][name.removeprefix("0.")], tensor), name
    assert not list(root.glob("models/*"))  # fastai's place for weights


def test_the_adversarial_stage_has_no_rate_to_find(capsys):
    with pytest.raises(SystemExit):
        cli.main(["find-rate", "train_gan", "-o", "x.png"])
    assert "invalid choice: 'train_gan'" in capsys.readouterr().err

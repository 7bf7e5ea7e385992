import pytest
from conftest import make_project
from PIL import Image

from facesr import cli
from facesr.config import load_params
from facesr.training.find_rate import find_rate


@pytest.mark.parametrize("stage", ["train_generator", "train_critic", "train_upsampler"])
def test_a_search_draws_its_picture(stage, trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(trained)
    picture = tmp_path / "rates.png"
    cli.main(["find-rate", stage, "-o", str(picture), "--steps", "8"])
    with Image.open(picture) as opened:
        assert opened.size == (880, 495)
    assert "rate with the lowest loss is" in capsys.readouterr().out


def test_rates_grow_by_a_constant_factor_and_a_wild_one_ends_the_search(trained, tmp_path):
    params = load_params(make_project(tmp_path) / "params.yaml")
    pairs = trained / "data/pairs/train"
    found = find_rate(
        "train_generator",
        params,
        lr=pairs / "lr",
        hr=pairs / "hr",
        lowest=1e-4,
        highest=1e4,
        steps=33,
    )
    assert found.rates[1] / found.rates[0] == pytest.approx(10 ** (8 / 32))
    assert 2 < len(found.rates) < 33
    best = found.rates[found.losses.index(min(found.losses))]
    assert found.suggestion == pytest.approx(best / 10)


def test_the_adversarial_stage_has_no_rate_to_find(capsys):
    with pytest.raises(SystemExit):
        cli.main(["find-rate", "train_gan", "-o", "x.png"])
    assert "invalid choice: 'train_gan'" in capsys.readouterr().err

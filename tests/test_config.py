import shutil
from typing import get_args

import pytest
import torch
import yaml
from dvc.utils.hydra import apply_overrides
from shipped import PROFILES, ROOT, profile_values, write_params

from facesr.cli import main
from facesr.config import PublishParams, load_params, read_yaml
from facesr.errors import ParamsError
from facesr.paths import EVALUATION_SETS
from facesr.profiles import compose, load_profile


@pytest.fixture
def params(tmp_path):
    return profile_values(tmp_path)


def save(tmp_path, content):
    path = write_params(tmp_path)
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def save_recipes(tmp_path, change):
    path = write_params(tmp_path)
    recipes = tmp_path / "recipes.yaml"
    content = read_yaml(recipes)
    change(content)
    recipes.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_loads_and_has_its_name(profile):
    assert load_profile(profile, ROOT).profile == profile


@pytest.mark.parametrize("profile", PROFILES)
def test_an_override_by_dvc_changes_one_line(tmp_path, profile):
    path = write_params(tmp_path, profile)
    before = path.read_text().splitlines()
    apply_overrides(path, ["train_gan.adversarial_weight=1e-6"])
    after = path.read_text().splitlines()
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    assert changed == ["  adversarial_weight: 1e-06"]
    assert load_params(path, any_device=True).train_gan.adversarial_weight == 1e-6


def test_all_faults_come_in_one_message(params, tmp_path):
    gan = params["train_gan"]
    del gan["batch_size"]
    gan["learning_rate"] = 1e-4
    gan["ema_decay"] = "0.9"
    params["sizes"]["lr_size"] = 100
    with pytest.raises(ParamsError) as error:
        load_params(save(tmp_path, params))
    message = str(error.value)
    assert "train_gan.batch_size: Field required" in message
    assert "train_gan.learning_rate: Extra inputs are not permitted" in message
    assert "train_gan.ema_decay: Input should be a valid number" in message
    assert "sizes: lr_size 100 must divide" in message


def test_a_fault_in_a_network_is_named_by_its_key(params, tmp_path):
    params["train_generator"]["network"]["width"] = "wide"
    with pytest.raises(ParamsError, match=r"train_generator\.network\.width: "):
        load_params(save(tmp_path, params))


def test_grain_for_a_network_that_has_none_is_refused(tmp_path):
    params = profile_values(tmp_path, "paper")
    params["train_gan"]["grain"]["crops"] = 100
    with pytest.raises(ParamsError, match="grain does not go with fastai_unet"):
        load_params(save(tmp_path, params), any_device=True)


def test_what_cannot_be_compiled_is_refused(tmp_path):
    params = profile_values(tmp_path, "paper")
    params["training"]["compile"] = True
    with pytest.raises(ParamsError, match="compile does not go with fastai_unet"):
        load_params(save(tmp_path, params), any_device=True)


def test_a_crop_larger_than_its_images_is_refused(params, tmp_path):
    params["train_gan"]["crop_size"] = 49
    with pytest.raises(ParamsError, match=r"train_gan\.crop_size 49 is larger"):
        load_params(save(tmp_path, params))


def test_an_upside_down_range_is_refused(tmp_path):
    path = save_recipes(tmp_path, lambda c: c["recipes"]["web"].update(jpeg_quality=[95, 30]))
    with pytest.raises(ParamsError, match="lower bound 95 is above the upper bound 30"):
        load_params(path)


def test_a_profile_for_the_gpu_refuses_a_computer_without_one(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    params = profile_values(tmp_path, "paper")
    with pytest.raises(ParamsError, match=r"Set require_gpu: false in .* make profile NAME=small"):
        load_params(save(tmp_path, params))
    params["require_gpu"] = False
    assert load_params(save(tmp_path, params)).profile == "paper"


def test_parameters_cannot_be_changed_after_loading():
    params = load_profile("small", ROOT)
    with pytest.raises(Exception, match="frozen"):
        params.training_seed = 8


def test_a_missing_file_says_where_to_run(tmp_path):
    with pytest.raises(ParamsError, match="Run from the project's root"):
        load_params(tmp_path / "params.yaml")


def test_broken_yaml_names_the_line(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("profile: small\n  data_seed: 7\n")
    with pytest.raises(ParamsError, match="line 2"):
        load_params(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.update(profiles={"small": {}}),
        lambda p: p.update(seed=p.pop("data_seed")),
        lambda p: p["training"].update(explosion_factor=p["training"].pop("divergence_factor")),
    ],
)
def test_an_older_form_says_in_one_line_how_to_change_over(params, tmp_path, change):
    change(params)
    with pytest.raises(ParamsError, match=r"CHANGELOG\.md.*make profile NAME=small") as caught:
        load_params(save(tmp_path, params))
    assert "\n" not in str(caught.value)


def test_a_profile_is_written_and_edits_are_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "profiles", "profiles")
    path = write_params(tmp_path)
    main(["profile", "paper"])
    assert path.read_text() == compose("paper", ROOT / "profiles")
    assert "# px, input" in path.read_text()
    path.write_text(path.read_text().replace("epochs: 6", "epochs: 7"))
    with pytest.raises(SystemExit):
        main(["profile", "best"])
    assert "edits that are not committed" in capsys.readouterr().err
    assert "epochs: 7" in path.read_text()
    main(["profile", "best", "--force"])
    assert path.read_text() == compose("best", ROOT / "profiles")
    with pytest.raises(SystemExit):
        main(["profile", "huge"])
    assert "Choose one of best, paper, small, smoke, starter" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["recipes"].pop("web"), "degrade.recipe: 'web' is not one of"),
        (lambda c: c["suites"].pop("short"), "degrade.validation: 'short' is not one of"),
        (lambda c: c["suites"]["one"].update(web={}), "suites.one.web is not the recipe web"),
        (lambda c: c["recipes"]["broad"]["parts"].pop("mild"), "weights and parts name other"),
    ],
)
def test_recipes_that_do_not_fit_are_refused(tmp_path, change, message):
    with pytest.raises(ParamsError, match=message):
        load_params(save_recipes(tmp_path, change))


def test_the_gate_may_judge_on_every_evaluation_set():
    choices = get_args(PublishParams.model_fields["evaluation_set"].annotation)
    assert choices == tuple(EVALUATION_SETS)

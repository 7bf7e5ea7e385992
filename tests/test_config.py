import pytest
import torch
import yaml
from shipped import load_shipped, shipped_params

from facesr.config import load_params
from facesr.errors import ParamsError


@pytest.fixture
def params():
    return yaml.safe_load(shipped_params())


def save(tmp_path, content):
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def test_the_default_profile_is_small():
    assert load_shipped().profile == "small"


@pytest.mark.parametrize("profile", ["smoke", "small", "starter", "paper", "best"])
def test_every_profile_loads(params, tmp_path, profile):
    params["profile"] = profile
    assert load_params(save(tmp_path, params), any_device=True).profile == profile


def test_all_faults_come_in_one_message(params, tmp_path):
    gan = params["profiles"]["small"]["train_gan"]
    del gan["batch_size"]
    gan["learning_rate"] = 1e-4
    gan["ema_decay"] = "0.9"
    params["profiles"]["best"]["sizes"]["lr_size"] = 100
    with pytest.raises(ParamsError) as error:
        load_params(save(tmp_path, params))
    message = str(error.value)
    assert "profiles.small.train_gan.batch_size: Field required" in message
    assert "profiles.small.train_gan.learning_rate: Extra inputs are not permitted" in message
    assert "profiles.small.train_gan.ema_decay: Input should be a valid number" in message
    assert "profiles.best.sizes: lr_size 100 must divide" in message


def test_a_fault_in_a_network_is_named_by_its_key(params, tmp_path):
    params["profiles"]["small"]["train_generator"]["network"]["width"] = "wide"
    with pytest.raises(ParamsError, match=r"small\.train_generator\.network\.width: "):
        load_params(save(tmp_path, params))


def test_an_unknown_profile_names_the_known_ones(params, tmp_path):
    params["profile"] = "huge"
    known = "smoke, small, starter, paper, best"
    with pytest.raises(ParamsError, match=f"'huge' is not one of {known}"):
        load_params(save(tmp_path, params))


def test_grain_for_a_network_that_has_none_is_refused(params, tmp_path):
    params["profiles"]["paper"]["train_gan"]["grain"]["crops"] = 100
    with pytest.raises(ParamsError, match="grain does not go with fastai_unet"):
        load_params(save(tmp_path, params))


def test_what_cannot_be_compiled_is_refused(params, tmp_path):
    params["profiles"]["paper"]["training"]["compile"] = True
    with pytest.raises(ParamsError, match="compile does not go with fastai_unet"):
        load_params(save(tmp_path, params), any_device=True)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("shown", ["everybody"], r"shown: 'everybody' is not one of london"),
        ("crops.condition", "rain", r"crops\.condition: 'rain' is not one of clean x2"),
        ("crops.parts.eyes.down", [0.5, 0.4], "the lower bound 0.5 is above the upper bound 0.4"),
        ("samples.conditions", ["fog"], r"samples\.conditions: 'fog' is not one of clean x2"),
    ],
)
def test_a_scoreboard_shows_what_it_has(params, tmp_path, key, value, message):
    *parents, last = key.split(".")
    section = params["scoreboard"]
    for parent in parents:
        section = section[parent]
    section[last] = value
    with pytest.raises(ParamsError, match=message):
        load_params(save(tmp_path, params))


def test_a_crop_larger_than_its_pictures_is_refused(params, tmp_path):
    params["profiles"]["smoke"]["train_gan"]["crop_size"] = 25
    with pytest.raises(ParamsError, match=r"train_gan\.crop_size 25 is larger"):
        load_params(save(tmp_path, params))


def test_an_upside_down_range_is_refused(params, tmp_path):
    params["recipes"]["web"]["jpeg_quality"] = [95, 30]
    with pytest.raises(ParamsError, match="lower bound 95 is above the upper bound 30"):
        load_params(save(tmp_path, params))


def test_a_profile_for_the_gpu_refuses_a_computer_without_one(params, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    params["profile"] = "paper"
    with pytest.raises(ParamsError, match=r"set .*|Set profiles\.paper\.require_gpu: false"):
        load_params(save(tmp_path, params))
    params["profiles"]["paper"]["require_gpu"] = False
    assert load_params(save(tmp_path, params)).profile == "paper"


def test_parameters_cannot_be_changed_after_loading():
    params = load_shipped()
    with pytest.raises(Exception, match="frozen"):
        params.training_seed = 8


def test_the_one_seed_of_before_is_answered_with_the_two_of_today(params, tmp_path):
    params["seed"] = params.pop("data_seed")
    del params["training_seed"]
    with pytest.raises(ParamsError, match=r"Write data_seed: 7 and training_seed: 7") as caught:
        load_params(save(tmp_path, params))
    assert "\n" not in str(caught.value)


def test_a_missing_file_says_where_to_run(tmp_path):
    with pytest.raises(ParamsError, match="Run from the project's root"):
        load_params(tmp_path / "params.yaml")


def test_broken_yaml_names_the_line(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("profile: small\n  data_seed: 7\n")
    with pytest.raises(ParamsError, match="line 2"):
        load_params(path)


def test_no_number_is_written_so_that_yaml_reads_a_string(params):
    def strings(node):
        if isinstance(node, dict):
            for value in node.values():
                yield from strings(value)
        elif isinstance(node, list):
            for value in node:
                yield from strings(value)
        elif isinstance(node, str):
            yield node

    for text in strings(params):
        with pytest.raises(ValueError, match="could not convert"):
            float(text)

"""A training starts from the weights that `init_from` names."""

import pytest
import torch
from conftest import make_project, run_stage
from safetensors.torch import load_file

from facesr.errors import CheckpointError
from facesr.models.checkpoints import load_network, save_networks

# So slow that the weights stay where they started.
STILL = [
    {
        **{"crop_size": 16, "batch_size": 4, "epochs": 1},
        **{"learning_rate": 1.0e-12, "encoder_learning_rate": 1.0e-12},
    }
]


def start(tmp_path, trained, monkeypatch, **changes):
    root = make_project(
        tmp_path,
        train_generator__init_from="start.safetensors",
        train_generator__phases=STILL,
        **changes,
    )
    (root / "start.safetensors").write_bytes(
        (trained / "models/generator.safetensors").read_bytes()
    )
    run_stage("train_generator", root, monkeypatch)
    return load_file(root / "models/generator.safetensors")


def test_a_training_goes_on_from_the_given_weights(tmp_path, trained, monkeypatch):
    weights = start(tmp_path, trained, monkeypatch, train_generator__weight_decay=0.0)
    expected = load_file(trained / "models/generator.safetensors")
    for name, tensor in weights.items():
        assert torch.allclose(tensor, expected[name], atol=1e-8), name


def test_an_adversarial_training_goes_on_from_the_given_weights(tmp_path, trained, monkeypatch):
    root = make_project(
        tmp_path,
        train_gan__init_from="start.safetensors",
        train_gan__generator_learning_rate=1e-12,
        train_gan__weight_decay=0.0,
        train_gan__grain__crops=0,
    )
    for name in ("generator", "critic"):
        file = f"models/{name}.safetensors"
        (root / "models").mkdir(exist_ok=True)
        (root / file).write_bytes((trained / file).read_bytes())
    started = load_file(trained / "models/generator.safetensors")
    moved = {name: 0.9 * tensor for name, tensor in started.items()}
    network = load_network(trained / "models/generator.safetensors")
    network.module.load_state_dict({name.split(".", 1)[1]: one for name, one in moved.items()})
    save_networks(root / "start.safetensors", [network])
    run_stage("train_gan", root, monkeypatch)
    for name, tensor in load_file(root / "models/gan.safetensors").items():
        assert torch.allclose(tensor, moved[name], atol=1e-7), name


def test_weights_of_another_architecture_are_refused(tmp_path, trained, monkeypatch):
    with pytest.raises(CheckpointError, match=r"cannot start this training: .*levels 2.*levels 1"):
        start(tmp_path, trained, monkeypatch, train_generator__network__levels=1)


def test_a_missing_file_is_named(tmp_path, monkeypatch):
    root = make_project(tmp_path, train_generator__init_from="none.safetensors")
    with pytest.raises(CheckpointError, match=r"none\.safetensors does not exist"):
        run_stage("train_generator", root, monkeypatch)

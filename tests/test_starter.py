"""The network that ships with the package."""

from pathlib import Path

import torch
from safetensors import safe_open
from shipped import ROOT, profile_values

from facesr import choice, images
from facesr.enhance.enhancer import EnhanceOptions
from facesr.metrics import gradient_energy_ratio, psnr


def test_the_starter_is_small_and_of_half_precision():
    assert choice._STARTER_FILE.stat().st_size < 8e6
    with safe_open(choice._STARTER_FILE, framework="pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118


def test_faithful_weights_are_nearer_to_an_unseen_face_and_crisp_ones_have_its_detail(tmp_path):
    face = images.read(ROOT / "samples" / "london" / "014_neutral.jpg")
    hr = images.round_to_8bit(images.resize(face, (256, 256), "bicubic"))
    lr = images.round_to_8bit(images.resize(hr, (64, 64), "bicubic"))
    starter = choice.load("starter", root=tmp_path)
    bicubic = images.resize(lr, (256, 256), "bicubic").clamp(0, 1)
    faithful, crisp = (
        starter.enhance(lr, EnhanceOptions(scale=4, strength=strength)).image
        for strength in (0.0, 1.0)
    )
    restored, original = torch.stack([bicubic, crisp, faithful]), hr.expand(3, -1, -1, -1)
    gains = psnr(restored, original) - psnr(bicubic[None], hr[None])
    assert gains[2] > gains[1] > 1
    energy = gradient_energy_ratio(restored, original)
    assert energy[0] < energy[2] < energy[1] < 1.2


def test_the_starter_serves_where_nothing_is_registered(tmp_path):
    assert choice.load_default(root=tmp_path).model.startswith("starter")


def test_the_default_profile_starts_from_it_and_no_profile_trains_it_on_the_samples(tmp_path):
    small, starter = (profile_values(tmp_path, name) for name in ("small", "starter"))
    assert Path(small["train_generator"]["init_from"]).name == choice._STARTER_FILE.name
    assert small["fetch_faces"]["source"] == "samples"
    assert starter["fetch_faces"]["source"] != "samples"

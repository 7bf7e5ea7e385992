import csv
import json
from math import nan

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from scipy.stats import ttest_ind
from tiny import network

from facesr import images
from facesr.config import EvaluateParams, Sizes
from facesr.data.manifest import Entry, write_manifest
from facesr.data.pairs import HR, LR
from facesr.data.sources import selfie
from facesr.errors import DataError
from facesr.evaluation import perceptual
from facesr.evaluation.baselines import build_baselines
from facesr.evaluation.evaluate import evaluate
from facesr.models.checkpoints import save_networks
from facesr.names import BICUBIC, LEARNED, EvaluationSet
from facesr.reports import sheets
from facesr.stats import read_table

PARAMS = EvaluateParams(
    back_projections=2,
    minimum_psnr=14.0,
    sheet_images=2,
    validation_images=2,
    smallest_group=2,
)
SIZES = Sizes(hr_size=96, generator_size=48, lr_size=24)


def face(seed, size=96):
    """A smooth image of its own colours."""
    rng = np.random.default_rng(seed)
    image = ndimage.gaussian_filter(rng.random((3, size, size)), (0, 3, 3))
    return torch.from_numpy((image - image.min()) / (image.max() - image.min())).float()


def write_pairs(folder, hrs, lrs):
    for number, (hr, lr) in enumerate(zip(hrs, lrs, strict=True)):
        images.write(folder / HR / f"face{number}.png", hr)
        images.write(folder / LR / f"face{number}.png", images.resize(lr, (24, 24), "bicubic"))


@pytest.fixture
def weights(tmp_path):
    paths = {}
    for name in ("generator", "gan", "upsampler", "starter"):
        paths[name] = tmp_path / f"{name}.safetensors"
        save_networks(paths[name], [network(visible=0)])
    return paths


def entries(count, source="samples", licence="none"):
    return [
        Entry(
            f"face{number}.png",
            "test",
            f"{source}:{number}",
            "96",
            "0" * 64,
            licence,
            attributes=json.dumps({"hat": int(number < 2), "tone": 0.5, "kind": "photograph"}),
        )
        for number in range(count)
    ]


def run(tmp_path, weights, sets, listed=None):
    write_manifest(tmp_path / "fetched", listed or entries(4))
    evaluate(
        PARAMS,
        sizes=SIZES,
        sets={name: EvaluationSet(pairs, tmp_path / "fetched") for name, pairs in sets.items()},
        valid=tmp_path / "valid",
        validation_sets=tmp_path / "valid_sets",
        **weights,
        report=tmp_path / "report",
        summary=tmp_path / "metrics.json",
    )


def test_every_method_is_measured_on_every_image_beside_bicubic(tmp_path, weights):
    faces = [face(number) for number in range(3)]
    write_pairs(tmp_path / "pairs", faces, faces)
    run(tmp_path, weights, {"faces": tmp_path / "pairs"})
    rows = table(tmp_path / "report" / "per_image.csv")
    assert len(rows) == 2 * 7 * 3  # sizes, methods, images
    methods = {
        size: list(dict.fromkeys(row["method"] for row in rows if row["size"] == size))
        for size in ("generator size", "full size")
    }
    assert methods["generator size"] == [*build_baselines(2), "starter", "generator", "GAN"]
    assert methods["full size"][-3:] == ["starter", "GAN + bicubic", "GAN + up-sampler"]
    own, bicubic = (
        np.array([float(row["psnr"]) for row in rows if row["method"] == method])[-3:]
        for method in ("GAN + up-sampler", BICUBIC)
    )
    summary = json.loads((tmp_path / "metrics.json").read_text())
    assert summary["faces/psnr"] == pytest.approx(np.mean(own), 1e-5)
    assert summary["faces/psnr_gain"] == pytest.approx(np.mean(own - bicubic), abs=1e-4)
    names = {path.relative_to(tmp_path / "report").as_posix() for path in files(tmp_path)}
    assert {"gains.png", "sheets/faces.png", "images/faces/1.png", "images/faces/2.png"} <= names
    assert "images/faces/3.png" not in names
    assert "sheets/valid.png" not in names


def files(tmp_path):
    return [path for path in (tmp_path / "report").rglob("*") if path.is_file()]


def test_every_stored_validation_set_is_measured_by_every_method(tmp_path, weights):
    faces = [face(number) for number in range(3)]
    write_pairs(tmp_path / "pairs", faces, faces)
    write_pairs(tmp_path / "valid", faces, faces)
    soft = [torch.from_numpy(ndimage.gaussian_filter(hr.numpy(), (0, 3, 3))) for hr in faces]
    for name, lrs in (("clean", faces), ("soft", soft)):
        for number, lr in enumerate(lrs):
            path = tmp_path / "valid_sets" / name / f"face{number}.png"
            images.write(path, images.resize(lr, (24, 24), "bicubic"))
    run(tmp_path, weights, {"faces": tmp_path / "pairs"})
    scores = read_table((tmp_path / "report" / "per_image.csv").read_text())
    sets = {name: [row[1:] for row in scores if row[0] == name] for name, _, _ in scores}
    assert list(sets) == ["faces", "valid clean", "valid soft"]
    assert sets["valid clean"] == sets["faces"]
    clean, soft = (
        {row[-1]: np.mean([*scores[row]["psnr"].values()]) for row in scores if row[:2] == one}
        for one in (("valid clean", "full size"), ("valid soft", "full size"))
    )
    assert len(scores["valid clean", "full size", BICUBIC]["psnr"]) == PARAMS.validation_images
    assert list(clean) == [*build_baselines(2), "starter", "GAN + bicubic", "GAN + up-sampler"]
    assert all(clean[method] > soft[method] for method in clean)
    text = (tmp_path / "report" / "tables.md").read_text()
    assert "## Valid soft, generator size: 24 → 48 px" in text
    assert (tmp_path / "report" / "sheets" / "valid.png").is_file()


def test_results_by_group_agree_with_the_table_of_images(tmp_path, weights):
    faces = [face(number) for number in range(4)]
    write_pairs(tmp_path / "pairs", faces, faces)
    run(tmp_path, weights, {"faces": tmp_path / "pairs"})
    psnr = {}
    for row in table(tmp_path / "report" / "per_image.csv"):
        if row["size"] == "full size":
            psnr.setdefault(row["method"], []).append(float(row["psnr"]))
    rows = {
        (row["group"], row["value"]): row
        for row in table(tmp_path / "report" / "groups.csv")
        if (row["method"], row["metric"]) == ("Lanczos", "psnr")
    }
    # Source and kind are those of every image, and a fraction is no group.
    assert set(rows) == {("hat", "0"), ("hat", "1")}
    hats = rows["hat", "1"]
    own, bicubic = (np.array(psnr[method][:2]) for method in ("Lanczos", BICUBIC))
    assert (hats["images"], hats["people"]) == ("2", "2")
    assert float(hats["mean"]) == pytest.approx(own.mean(), 1e-4)
    assert float(hats["standard_error"]) == pytest.approx(own.std(ddof=1) / 2**0.5, abs=1e-4)
    assert float(hats["gain"]) == pytest.approx((own - bicubic).mean(), abs=1e-4)
    gains = [np.subtract(psnr["Lanczos"], psnr[BICUBIC])[part] for part in (slice(2), slice(2, 4))]
    welch = ttest_ind(*gains, equal_var=False)
    difference, error = (float(hats[n]) for n in ("difference", "difference_standard_error"))
    assert difference == pytest.approx(gains[0].mean() - gains[1].mean(), abs=1e-4)
    assert difference / error == pytest.approx(welch.statistic, rel=0.01)
    text = (tmp_path / "report" / "groups.md").read_text()
    assert "| hat = 1 | 2 (few) |" in text
    assert "fewer than 2 images are left out" in " ".join(text.split())
    assert (tmp_path / "report" / "groups.png").stat().st_size > 0


def test_networks_metrics_are_in_every_table_where_they_are_available(
    tmp_path, weights, monkeypatch
):
    monkeypatch.setitem(
        perceptual.LOADERS, "lpips", lambda _: lambda sr, hr: (sr - hr).abs().mean((1, 2, 3))
    )
    faces = [face(number) for number in range(4)]
    for hr in faces[:2]:
        hr[0] = 1

    def identity(sr, hr):
        """As if a face were found in red images only."""
        return sr.mean((1, 2, 3)) if hr[0].min() == 1 else sr.new_full((len(sr),), nan)

    monkeypatch.setitem(perceptual.LOADERS, "identity", lambda _: identity)
    write_pairs(tmp_path / "pairs", faces, faces)
    run(tmp_path, weights, {"faces": tmp_path / "pairs"})
    rows = [r for r in table(tmp_path / "report" / "per_image.csv") if r["method"] == "Lanczos"]
    full = [row for row in rows if row["size"] == "full size"]
    assert [row["identity"] != "" for row in full] == [True, True, False, False]
    for row in full:
        assert float(row["lpips"]) == pytest.approx(float(row["l1_mean"]) / 255, rel=1e-4)
    served = [row for row in table(tmp_path / "report" / "per_image.csv") if is_served(row)]
    summary = json.loads((tmp_path / "metrics.json").read_text())
    for name, count in (("lpips", 4), ("identity", 2)):
        values = [float(row[name]) for row in served if row[name]]
        assert len(values) == count
        assert summary[f"faces/{name}"] == pytest.approx(np.mean(values), 1e-5)
    groups = table(tmp_path / "report" / "groups.csv")
    assert {r["value"] for r in groups if r["metric"] == "lpips"} == {"0", "1"}
    assert not [r for r in groups if r["metric"] == "identity"]
    text = (tmp_path / "report" / "groups.md").read_text()
    assert "gain in LPIPS ↓" in text
    assert "not available" in text


def test_a_metric_without_its_weights_is_not_available_and_has_no_number(
    tmp_path, weights, monkeypatch
):
    for name in LEARNED:
        monkeypatch.setitem(
            perceptual.LOADERS, name, lambda _: lambda sr, hr: sr.new_full((len(sr),), nan)
        )
    faces = [face(number) for number in range(3)]
    write_pairs(tmp_path / "pairs", faces, faces)
    run(tmp_path, weights, {"faces": tmp_path / "pairs"})
    rows = table(tmp_path / "report" / "per_image.csv")
    assert {row[name] for row in rows for name in LEARNED} == {""}
    summary = json.loads((tmp_path / "metrics.json").read_text())
    assert list(summary) == ["faces/psnr_gain", "faces/psnr", "faces/ssim"]
    text = (tmp_path / "report" / "tables.md").read_text()
    heads = [line for line in text.splitlines() if line.startswith("| method")]
    assert all("LPIPS ↓" in line and "identity ↑" in line for line in heads)
    assert text.count("not available |") == 2 * 2 * 7  # metrics, sizes, methods


def is_served(row):
    return (row["size"], row["method"]) == ("full size", "GAN + up-sampler")


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_group_below_the_least_number_gets_no_row(tmp_path, weights):
    faces = [face(number) for number in range(3)]
    write_pairs(tmp_path / "pairs", faces, faces)
    run(tmp_path, weights, {"faces": tmp_path / "pairs"}, entries(3))
    assert {row["value"] for row in table(tmp_path / "report" / "groups.csv")} == {"1"}


def test_a_person_counts_once_in_a_group(tmp_path, weights):
    faces = [face(number) for number in range(4)]
    write_pairs(tmp_path / "pairs", faces, faces)
    known = [
        entry._replace(identity="Ann") if i < 2 else entry for i, entry in enumerate(entries(4))
    ]
    run(tmp_path, weights, {"faces": tmp_path / "pairs"}, known)
    rows = {row["value"]: row for row in table(tmp_path / "report" / "groups.csv")}
    assert (rows["1"]["images"], rows["1"]["people"]) == ("2", "1")
    assert rows["1"]["gain_standard_error"] == ""
    assert (rows["0"]["images"], rows["0"]["people"]) == ("2", "2")


def test_images_that_may_not_be_shown_are_measured_and_not_drawn(tmp_path, weights):
    faces = [face(number) for number in range(3)]
    write_pairs(tmp_path / "pairs", faces, faces)
    hidden = entries(3, "selfie", selfie.LICENCE)
    run(tmp_path, weights, {"selfies": tmp_path / "pairs"}, hidden)
    assert not (tmp_path / "report" / "sheets").exists()
    assert not (tmp_path / "report" / "images").exists()
    served = [row for row in table(tmp_path / "report" / "per_image.csv") if is_served(row)]
    assert len(served) == 3
    run(tmp_path, weights, {"selfies": tmp_path / "pairs"}, [*entries(1), *hidden[1:]])
    with Image.open(tmp_path / "report" / "sheets" / "selfies.png") as sheet:
        # One row only.
        assert sheet.height < 2 * SIZES.hr_size + 3 * sheets.CAPTION


def test_a_pair_of_no_manifest_is_named(tmp_path, weights):
    write_pairs(tmp_path / "pairs", [face(0)] * 2, [face(0)] * 2)
    with pytest.raises(DataError, match=r"face1 of .* stands in no manifest"):
        run(tmp_path, weights, {"faces": tmp_path / "pairs"}, entries(1))
    assert not (tmp_path / "report").exists()


def test_the_bicubic_row_agrees_with_pillow(tmp_path, weights):
    hr = face(5)
    write_pairs(tmp_path / "pairs", [hr], [hr])
    run(tmp_path, weights, {"faces": tmp_path / "pairs"})
    lr = images.to_pillow(images.read(tmp_path / "pairs" / LR / "face0.png"))
    enlarged = np.asarray(lr.resize((96, 96), 3), dtype=float)
    original = np.asarray(images.to_pillow(hr), dtype=float)
    expected = 10 * np.log10(255**2 / np.mean((enlarged - original) ** 2))
    scores = read_table((tmp_path / "report" / "per_image.csv").read_text())
    measured = scores["faces", "full size", BICUBIC]["psnr"]["face0"]
    # Pillow rounds after each of its two passes, we once at the end.
    assert measured == pytest.approx(expected, abs=0.05)


def test_pairs_of_different_faces_stop_the_evaluation(tmp_path, weights):
    faces = [(face(number) - 0.5).sign().clamp(0, 1) for number in range(4)]
    write_pairs(tmp_path / "pairs", faces, [*faces[1:], faces[0]])
    with pytest.raises(DataError, match="Pairs look mis-matched"):
        run(tmp_path, weights, {"faces": tmp_path / "pairs"})
    assert not (tmp_path / "metrics.json").exists()

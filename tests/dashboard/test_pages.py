"""Every page, with results and without."""

import csv
import json
import math

import numpy as np
import pytest
from conftest import image_bytes, tiny_enhancer

import serving
from facesr import tracking
from facesr.data import packs
from facesr.data.manifest import NOT_TO_BE_SHOWN, Entry, write_manifest
from facesr.evaluation.groups import GROUP_COLUMNS
from facesr.reports import write_csv

METHODS = ("bicubic", "GAN + up-sampler")


@pytest.fixture
def reports(project):
    """What the pipeline would have written, small."""
    folder = project / "reports"
    (folder / "evaluate" / "sheets").mkdir(parents=True)
    (folder / "train_gan").mkdir()
    with (folder / "evaluate" / "per_image.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("set", "size", "method", "stem", "psnr"))
        for number in range(8):
            for method, psnr in zip(METHODS, (26, 26 + number), strict=True):
                table.writerow(("faces", "full size", method, f"face{number}", psnr))
        # Without a gain, and so not among the extremes.
        table.writerow(("selfies", "full size", "bicubic", "selfie0", 26))
    (folder / "train_gan" / "curves.csv").write_text("step,generator_loss\n5,0.5\n10,0.4\n")
    (folder / "evaluate" / "sheets" / "faces.png").write_bytes(image_bytes())
    return folder


@pytest.mark.parametrize(
    ("view", "sentence"),
    [
        ("compare", "`dvc repro`"),
        ("results", "No training runs yet. Run `dvc repro` to make the first one."),
        ("about", "`dvc repro`"),
    ],
)
def test_a_page_without_results_says_what_to_do(page, view, sentence):
    assert sentence in page(view).texts


@pytest.mark.parametrize("view", ["compare", "results", "about"])
@pytest.mark.parametrize("has_starter", [True, False])
def test_every_page_works_without_a_champion_and_names_the_challenger(
    page, registry, reports, monkeypatch, project, view, has_starter
):
    if has_starter:
        tiny_enhancer().save(project / "starter.safetensors")
        monkeypatch.setattr(serving, "has_starter", lambda: True)
    registry.versions = {6: (), 7: ("challenger",)}
    shown = page(view)
    assert "facesr v7 (challenger) is registered and does not serve." in shown.texts
    assert ("the starter model" in shown.texts) == has_starter
    if view == "results":
        assert "facesr v7 against bicubic" in shown.texts
    if view == "compare":
        right = "facesr@champion" if has_starter else "facesr/7"
        assert shown.at.selectbox(key="right").value == right
        shown.run(shown.at.selectbox(key="left").set_value("facesr/7"))
        assert "facesr v7 · challenger" in list(shown.at.dataframe[0].value["method"])


def test_results_show_the_champion_against_bicubic_and_the_version_before(page, registry, reports):
    registry.versions = {6: (), 7: ("champion",)}
    shown = page("results")
    assert "facesr v7 against bicubic" in shown.texts
    first = shown.at.metric[0]
    assert (first.label, first.value) == ("PSNR, faces", "35.00 dB")
    assert first.delta == "+8.60 dB to bicubic"
    assert "v6 before it: 34.00 dB, a change of +1.00 dB" in shown.texts
    assert "Not measured." in [metric.value for metric in shown.at.metric]


def test_results_show_the_tables_with_bicubic_first_and_the_extremes(page, reports):
    shown = page("results")
    tables = [frame.value for frame in shown.at.dataframe]
    measured = next(table for table in tables if "PSNR, dB ↑" in table)
    assert list(measured["method"]) == list(METHODS)
    worst, best = (table for table in tables if "gain, dB" in table)
    assert list(worst["image"])[:2] == ["face0", "face1"]
    assert list(best["image"])[:2] == ["face7", "face6"]


@pytest.fixture
def measured(project, reports):
    """The images behind the reports; the best of them may not be shown."""
    names = [f"face{number}" for number in range(8)]
    rng = np.random.default_rng(5)
    for side, folder in ((16, "lr"), (64, "hr")):
        pixels = rng.integers(0, 256, (8, 3, side, side), dtype=np.uint8)
        with packs.new_pack(project / "data" / "pairs" / "test" / folder, names, [side]) as pack:
            packs.writable(pack, side)[:] = pixels
    licences = ["CC BY 4.0"] * 7 + [f"photograph, {NOT_TO_BE_SHOWN}"]
    (project / "data" / "faces").mkdir()
    write_manifest(
        project / "data" / "faces",
        [
            Entry(f"{name}.png", "test", "samples:1", "64", "", licence)
            for name, licence in zip(names, licences, strict=True)
        ],
    )


def test_the_worst_and_best_images_are_shown_but_for_those_that_may_not(page, registry, measured):
    registry.versions = {7: ("champion",)}
    shown = page("results")
    before = len(shown.at.image)
    shown.run(shown.at.toggle(key="show_extremes").set_value(True))
    # Three images of each end in three columns, less the one.
    assert len(shown.at.image) == before + 15
    assert "face7**, faces, +7.00 dB to bicubic: not shown" in shown.texts
    assert "**face0**, faces, +0.00 dB to bicubic" in shown.texts


def test_extremes_whose_images_are_gone_are_named_all_the_same(page, reports):
    shown = page("results")
    shown.run(shown.at.toggle(key="show_extremes").set_value(True))
    assert shown.texts.count("not shown, it is not here") == 6


def test_results_show_the_gain_on_every_group(page, reports):
    with (reports / "evaluate" / "groups.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(GROUP_COLUMNS)
        for method, mean, gain in (("bicubic", 26, 0), ("GAN + up-sampler", 27.5, 1.5)):
            cells = (9, 8, method, "psnr", mean, 0.1, gain, 0.2, 0.3, 0.4)
            table.writerow(("faces", "source", "ffhq", *cells))
    shown = page("results")
    groups = next(f.value for f in shown.at.dataframe if "people" in f.value)
    assert groups.to_dict("records") == [
        {
            "group": "source = ffhq",
            "people": 8.0,
            "bicubic, dB": 26.0,
            "model, dB": 27.5,
            "gain, dB": 1.5,
            "± standard error": 0.2,
            "difference to the others, dB": 0.3,
            "its standard error": 0.4,
        }
    ]
    shown.run(shown.at.selectbox(key="set").set_value("selfies"))
    assert "By group of people: Not measured." in shown.texts


def test_results_show_networks_metrics_or_that_they_are_not_available(page, registry, reports):
    registry.versions = {7: ("champion",)}
    rows = (reports / "evaluate" / "per_image.csv").read_text().splitlines()
    distances = [0.3 if "up-sampler" in row else 0.4 for row in rows[1:]]
    cells = ["lpips", *map(str, distances)]
    text = "\n".join(f"{row},{cell}" for row, cell in zip(rows, cells, strict=True))
    (reports / "evaluate" / "per_image.csv").write_text(text)
    with (reports / "evaluate" / "groups.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(GROUP_COLUMNS)
        for metric, mean in (("psnr", 26), ("lpips", 0.3)):
            cells = (9, 8, "GAN + up-sampler", metric, mean, 0.1, -0.1, 0.2, 0.3, 0.4)
            table.writerow(("faces", "source", "ffhq", *cells))
    registry.metrics["faces/lpips"] = 0.3
    shown = page("results")
    headlines = {metric.label: (metric.value, metric.delta) for metric in shown.at.metric}
    assert headlines["LPIPS, faces"] == ("0.300", "")
    assert headlines["identity, faces"][0] == "Not available."
    table = next(f.value for f in shown.at.dataframe if "PSNR, dB ↑" in f.value)
    assert list(table["LPIPS ↓"]) == pytest.approx([0.4, 0.3])
    assert list(table["identity ↑"]) == ["not available"] * 2
    shown.run(shown.at.segmented_control(key="group_metric_faces").set_value("lpips"))
    groups = next(f.value for f in shown.at.dataframe if "people" in f.value)
    assert groups["model"].tolist() == [0.3]
    assert groups["gain"].tolist() == [-0.1]


def test_empty_cells_are_shown_as_unknown_and_left_out_of_the_extremes(page, reports):
    # Written where a value is infinite or undefined: PSNR of equal images, the standard error of a
    # group of one image.
    scores = reports / "evaluate" / "per_image.csv"
    with scores.open("a", newline="") as file:
        csv.writer(file).writerows(
            ("faces", "full size", method, stem, psnr)
            for stem, own, bicubic in (("equal", "", 26), ("flat", 30, ""), ("both", "", ""))
            for method, psnr in (("GAN + up-sampler", own), ("bicubic", bicubic))
        )
    write_csv(
        reports / "evaluate" / "groups.csv",
        [
            dict(
                zip(
                    GROUP_COLUMNS,
                    ("faces", "source", value, 1, 1, method, "psnr", *cells, 0, 0),
                    strict=True,
                )
            )
            for value, *rows in (
                ("one", (26.0, math.nan, 0.0, math.nan), (27.5, math.nan, 1.5, math.nan)),
                ("equal", (26.0, math.nan, 0.0, math.nan), (math.nan,) * 4),
            )
            for method, cells in zip(METHODS, rows, strict=True)
        ],
    )
    shown = page("results")
    groups = next(f.value for f in shown.at.dataframe if "± standard error" in f.value)
    assert groups["± standard error"].isna().all()
    assert groups["gain, dB"].isna().tolist() == [False, True]
    worst, best = (f.value for f in shown.at.dataframe if "image" in f.value)
    assert {*worst["image"], *best["image"]} == {f"face{number}" for number in range(8)}


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("evaluate/per_image.csv", "set,size,method,stem,psnr\nfaces,full size"),
        ("evaluate/per_image.csv", "set,size,method,stem,psnr\nfaces,full size,bicubic,a,b\n"),
        ("evaluate/groups.csv", "set,metric\nfaces,psnr\n"),
        ("evaluate/groups.csv", ",".join(GROUP_COLUMNS) + "\nfaces,source,a,1,many,bicubic,psnr"),
        ("train_gan/curves.csv", "st"),
        ("train_gan/curves.csv", "step,loss\n5,0.5\n10,"),
        ("train_gan/curves.csv", "step,loss\n5,0.5,7,8\n10"),
        ("evaluate/sheets/faces.png", "torn"),
    ],
)
def test_a_report_that_is_cut_short_or_damaged_breaks_no_page(page, reports, file, content):
    (reports / file).write_text(content)
    assert "Sample sheets" in page("results").texts


def test_results_list_runs_with_their_parameters(page, registry, monkeypatch):
    registry.versions = {7: ("champion",)}
    listed = registry.list_versions(None)[0]
    run = tracking.ListedRun(
        name="repro",
        run_id="run7",
        page=listed.page,
        started=listed.created,
        seconds=3.0,
        tags={"git.rev": "0123456789", "model.version": "7"},
        params={"training_seed": "7"},
        metrics={"faces/psnr": 35.0},
    )
    monkeypatch.setattr(tracking, "list_runs", lambda root: [run])
    shown = page("results")
    runs = shown.at.dataframe[-1].value
    assert list(runs["revision"]) == ["01234567"]
    assert list(runs["PSNR, dB"]) == [35.0]


def test_results_say_that_the_registry_is_away_and_still_show_the_reports(page, registry, reports):
    registry.is_away = True
    shown = page("results")
    assert "MLflow at http://mlflow:5000 failed" in shown.texts
    assert "Measured on test images" in shown.texts
    registry.is_away = False
    registry.versions = {7: ("champion",)}
    refresh = next(button for button in shown.at.button if button.label == "Refresh")
    shown.run(refresh.click())
    assert "facesr v7 against bicubic" in shown.texts


def test_damaged_reports_are_left_out(page, registry, reports):
    registry.versions = {7: ("champion",)}
    (reports / "evaluate" / "per_image.csv").write_bytes(b"\xff\xfe\0")
    shown = page("results")
    assert "Measured on test images" not in shown.texts


def test_one_model_alone_is_compared_with_bicubic(page, registry):
    registry.versions = {7: ("champion",)}
    shown = page("compare")
    assert "Only one model is registered. Comparing it with bicubic." in shown.texts
    table = shown.at.dataframe[0].value
    assert list(table["method"]) == ["Input (bicubic)", "facesr v7 · champion"]
    assert (table["PSNR, dB ↑"] > 10).all()


def test_any_two_of_input_original_and_versions_are_compared(page, registry):
    registry.versions = {6: (), 7: ("champion",)}
    shown = page("compare")
    assert shown.at.selectbox(key="right").value == "facesr/7"
    shown.run(shown.at.selectbox(key="left").set_value("facesr/6"))
    assert registry.loads == [7, 6]
    (divider,) = [json.loads(c.proto.json) for c in shown.at.get("bidi_component")]
    assert divider["before"] != divider["after"]
    shown.run(shown.at.selectbox(key="right").set_value("original"))
    assert registry.loads == [7, 6]
    shown.run(shown.at.toggle(key="crops").set_value(True))
    assert len(shown.at.image) == 4


def test_a_version_that_is_broken_is_named_on_the_compare_page(page, registry):
    registry.versions = {7: ("champion",)}
    registry.broken = {7}
    shown = page("compare")
    assert "(code M2)" in shown.texts


def test_about_names_the_model_the_limits_and_what_it_is_not_for(page, registry):
    registry.versions = {7: ("champion",)}
    shown = page("about")
    assert "Not for identification" in shown.texts
    assert "16 megapixels" in shown.texts
    assert "facesr v7" in list(shown.at.dataframe[0].value["value"])


def test_about_shows_the_versions_model_card(page, registry):
    registry.versions = {7: ("champion",)}
    registry.cards = {"7": "# facesr version 7\n\n## Licences\n\nDrawn faces, CC0. # 1"}
    # Below the page's own headings.
    expected = "#### facesr version 7\n\n##### Licences\n\nDrawn faces, CC0. # 1"
    assert expected in page("about").texts


def test_an_original_is_compared_with_bicubic_and_model(project, registry):
    import intake
    import service
    from components import result

    registry.versions = {7: ("champion",)}
    enhanced = service.enhance(image_bytes(128, 96), service.Settings())
    rows = result.compare_to_original(enhanced, image_bytes(1024, 768), 1.0)
    assert [row["Method"] for row in rows] == ["Bicubic", "facesr v7"]
    assert all(row["PSNR, dB ↑"] > 5 for row in rows)
    with pytest.raises(intake.RefusedError, match="smaller than the result"):
        result.compare_to_original(enhanced, image_bytes(128, 96), 1.0)
    with pytest.raises(intake.RefusedError, match="other proportions"):
        result.compare_to_original(enhanced, image_bytes(1024, 1024), 1.0)

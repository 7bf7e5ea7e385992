import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from facesr import reports
from facesr.reports import figures, sheets
from facesr.reports.sheets import CAPTION, MARGIN
from facesr.training.curves import CurveLog


def test_json_is_rounded_and_has_no_infinity(tmp_path):
    path = tmp_path / "deep" / "metrics.json"
    reports.write_json(path, {"a": {"b": 1 / 3, "c": math.inf, "n": 7}})
    assert json.loads(path.read_text()) == {"a": {"b": 0.333333, "c": None, "n": 7}}


def test_csv_without_rows_keeps_its_header(tmp_path):
    reports.write_csv(tmp_path / "t.csv", [], header=("origin", "reason"))
    assert (tmp_path / "t.csv").read_text() == "origin,reason\n"


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "t.csv"
    reports.write_csv(path, [{"a": 1}])
    with pytest.raises(ValueError, match="fields not in fieldnames"):
        reports.write_csv(path, [{"a": 1}, {"b": 2}])
    assert path.read_text() == "a\n1\n"
    assert [file.name for file in tmp_path.iterdir()] == ["t.csv"]


def test_a_markdown_table_is_aligned():
    text = reports.markdown_table(["method", "dB"], [["bicubic", "31.1"], ["GAN", "9"]])
    assert text.splitlines() == [
        "| method  |   dB |",
        "|---------|-----:|",
        "| bicubic | 31.1 |",
        "| GAN     |    9 |",
    ]


def test_curves_are_written_row_by_row_and_drawn_at_the_end(tmp_path):
    with CurveLog(tmp_path, {"odds": 0.5}) as log:
        log(1, {"loss": 0.25})
        assert (tmp_path / "curves.csv").read_text() == "step,loss\n1,0.25\n"
        log(2, {"loss": 1 / 3})
        log(2, {"original": 0.75}, series="odds")
    assert (tmp_path / "curves.csv").read_text().splitlines()[-1] == "2,0.333333"
    assert (tmp_path / "odds.csv").read_text() == "step,original,goal\n2,0.75,0.5\n"
    assert {path.name for path in tmp_path.glob("*.png")} == {"curves.png", "odds.png"}


def test_a_failed_training_keeps_its_numbers(tmp_path):
    def train():
        with CurveLog(tmp_path, {}) as log:
            log(1, {"loss": 0.25})
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        train()
    assert (tmp_path / "curves.csv").read_text() == "step,loss\n1,0.25\n"


def test_the_goal_is_drawn(tmp_path):
    for name, goals in (("with", {"curves": 0.5}), ("without", {})):
        with CurveLog(tmp_path / name, goals) as log:
            for step in range(5):
                log(step, {"original": 0.4 + step / 10})
    curves = [np.array(Image.open(tmp_path / n / "curves.png")) for n in ("with", "without")]
    assert (curves[0] != curves[1]).any()


def test_equal_numbers_draw_equal_bytes(tmp_path):
    for name in ("a", "b"):
        with CurveLog(tmp_path / name, {}) as log:
            for step in range(60):
                log(step, {"loss": math.exp(-step)})
    # The title names the folder, so both get the same one.
    figures.draw_curves(tmp_path / "a" / "curves.csv", tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "a" / "curves.png").read_bytes()


def plain(colour, size=8):
    return torch.tensor(colour).view(3, 1, 1).expand(3, size, size).contiguous()


def test_every_cell_of_a_sheet_holds_its_image(tmp_path):
    columns = {
        "low-res": [plain([1.0, 0.0, 0.0]), plain([0.0, 1.0, 0.0])],
        "original": [plain([0.0, 0.0, 1.0], 32), plain([1.0, 1.0, 0.0], 32)],
    }
    path = tmp_path / "sheet.png"
    sheets.write_sheet(path, columns, cell=32, title="Test", notes=["first", "second"])
    with Image.open(path) as sheet:
        pixels = np.array(sheet)
    row_height = 32 + MARGIN + CAPTION
    for column, expected in enumerate([[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), (255, 255, 0)]]):
        for row, colour in enumerate(expected):
            y = 2 * CAPTION + row * row_height + 16
            x = MARGIN + column * (32 + MARGIN) + 16
            assert tuple(pixels[y, x]) == colour
    assert tuple(pixels[-1, -1]) == (255, 255, 255)


def test_a_small_image_is_enlarged_pixel_by_pixel(tmp_path):
    checkered = torch.zeros(3, 2, 2)
    checkered[:, 0, 0] = 1
    path = tmp_path / "sheet.png"
    sheets.write_sheet(path, {"low-res": [checkered]}, cell=40, title="Test")
    with Image.open(path) as sheet:
        cell = np.array(sheet)[2 * CAPTION : 2 * CAPTION + 40, MARGIN : MARGIN + 40]
    assert set(np.unique(cell)) == {0, 255}

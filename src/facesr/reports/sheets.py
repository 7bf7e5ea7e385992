"""Sample sheets: captioned grids of images."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from facesr import images
from facesr.files import atomic_write

# In pixels.
MARGIN = 12
CAPTION = 34
TITLE_LETTER = 11  # widest mean of a letter
PAGE_QUALITY = 88  # of a sheet as JPEG


def write_sheet(
    path: Path,
    columns: Mapping[str, Sequence[Tensor]],
    *,
    cell: int,
    title: str,
    notes: Sequence[str] | None = None,
) -> None:
    """Write an image grid: a captioned column for each entry, a row for each image, with its note.

    Args:
        path: PNG, or a smaller JPEG for a page.
        columns: Images (3, h, w) in [0, 1] by caption; smaller ones are enlarged pixel by pixel.
        cell: Side of a cell in pixels.
        title: Stands above all, in as many lines as it needs.
    """
    count = max(len(column) for column in columns.values())
    row_height = cell + MARGIN + (CAPTION if notes else 0)
    width = MARGIN + len(columns) * (cell + MARGIN)
    lines = textwrap.wrap(title, max(20, width // TITLE_LETTER))
    top = (len(lines) + 1) * CAPTION
    sheet = Image.new("RGB", (width, top + MARGIN + count * row_height), "white")
    draw = ImageDraw.Draw(sheet)
    bold, plain = _font("DejaVuSans-Bold", 18), _font("DejaVuSans", 15)
    for row, line in enumerate(lines):
        draw.text((MARGIN, (row + 0.5) * CAPTION), line, fill="black", font=bold, anchor="lm")
    for position, (caption, column) in enumerate(columns.items()):
        left = MARGIN + position * (cell + MARGIN)
        draw.text((left, top - CAPTION / 2), caption, fill="black", font=plain, anchor="lm")
        for row, image in enumerate(column):
            method: images.Filter = "nearest" if image.shape[-1] < cell else "lanczos"
            factor = cell / max(image.shape[-2:])
            height, shown_width = (max(1, round(side * factor)) for side in image.shape[-2:])
            shown = images.resize(image, (height, shown_width), method)
            sheet.paste(images.to_pillow(shown), (left, top + row * row_height))
    for row, note in enumerate(notes or ()):
        middle = top + row * row_height + cell + CAPTION / 2
        draw.text((MARGIN, middle), note, fill="black", font=plain, anchor="lm")
    with atomic_write(path) as temporary:
        kind = "JPEG" if path.suffix == ".jpg" else "PNG"
        sheet.save(temporary, kind, optimize=True, quality=PAGE_QUALITY)


def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    # matplotlib brings the file, so that every computer draws the same letters.
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", f"{name}.ttf"), size)

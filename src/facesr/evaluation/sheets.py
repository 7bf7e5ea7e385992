"""Sample sheets of the evaluation."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from facesr import images
from facesr.config import Sizes
from facesr.data.manifest import Entry, may_be_shown, notice
from facesr.data.pairs import Pairs
from facesr.evaluation.baselines import Method
from facesr.evaluation.scores import Score
from facesr.names import (
    BICUBIC,
    FULL_SIZE,
    GAN,
    GENERATOR,
    GENERATOR_SIZE,
    INPUT,
    ORIGINAL,
    UPSAMPLED,
)
from facesr.reports import sheets

# Of an image alone, in px: the letters of its licence need the width.
LEAST_CELL = 240
COLUMNS = (
    (GENERATOR_SIZE, BICUBIC),
    (GENERATOR_SIZE, GENERATOR),
    (GENERATOR_SIZE, GAN),
    (FULL_SIZE, UPSAMPLED),
)


class Sheet:
    """Rows of low-res, restored and original images, of one set or of several."""

    def __init__(self, sizes: Sizes, methods: Mapping[str, Mapping[str, Method]]) -> None:
        self.sizes = sizes
        self.methods = methods
        self.columns: dict[str, list[Tensor]] = {
            name: [] for name in (INPUT, *(method for _, method in COLUMNS), ORIGINAL)
        }
        self.notes: list[str] = []
        self.shown: list[Entry] = []

    def add(
        self,
        set_name: str,
        pairs: Pairs,
        scores: Sequence[Score],
        entries: Mapping[str, Entry],
        *,
        count: int,
    ) -> None:
        """Add the first images of a set that may be shown.

        Args:
            set_name: For the notes.
            pairs: At full size.
            scores: At full size, for the notes.
            entries: Rows of the manifest by stem.
            count: Images, at most.
        """
        allowed = [i for i, stem in enumerate(pairs.stems) if may_be_shown(entries[stem])]
        for position in allowed[:count]:
            stem, lr = pairs.stems[position], images.from_uint8(pairs.lr[position])
            self.shown.append(entries[stem])
            self.columns[INPUT].append(lr)
            for size, method in COLUMNS:
                self.columns[method].append(
                    self.methods[size][method](lr, self.sizes.outputs[size])
                )
            self.columns[ORIGINAL].append(images.from_uint8(pairs.hr[position]))
            values = [f"{s.method} {s.values['psnr']:.2f}" for s in scores if s.stem == stem]
            self.notes.append(
                f"{set_name}, {stem}: PSNR at {self.sizes.hr_size} px in dB: {', '.join(values)}"
            )

    def write_each(self, folder: Path, count: int) -> None:
        """Write the first images as 1.png and so on: low-res, the chain's result, original."""
        for place, entry in enumerate(self.shown[:count]):
            columns = {name: [self.columns[name][place]] for name in (INPUT, UPSAMPLED, ORIGINAL)}
            sheets.write_sheet(
                folder / f"{place + 1}.png",
                columns,
                cell=max(self.sizes.hr_size, LEAST_CELL),
                title=f"{Path(entry.file).stem}{notice([entry])}",
            )

    def write(self, path: Path, title: str) -> None:
        """Write the sheet as PNG; nothing where no image may be shown."""
        if not self.shown:
            return
        sheets.write_sheet(
            path,
            self.columns,
            cell=self.sizes.hr_size,
            title=f"{title}{notice(self.shown)}",
            notes=self.notes,
        )

"""The scoreboard: networks on fixed, stored inputs made from real photographs.

Inputs are made once, kept as PNG with a digest, and made again only when their definition changes,
so that every row of every later table was measured on the same pixels. Methods are compared image
by image.
"""

from facesr.evaluation.scoreboard.board import write_board
from facesr.evaluation.scoreboard.inputs import choose_files, make_inputs
from facesr.evaluation.scoreboard.scoring import Restore, Row, build_methods, restore_with, score
from facesr.evaluation.scoreboard.settings import load_scoreboard
from facesr.evaluation.scoreboard.sheets import write_hardest, write_samples, write_worst

__all__ = [
    "Restore",
    "Row",
    "build_methods",
    "choose_files",
    "load_scoreboard",
    "make_inputs",
    "restore_with",
    "score",
    "write_board",
    "write_hardest",
    "write_samples",
    "write_worst",
]

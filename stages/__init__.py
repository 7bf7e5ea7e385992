"""Scripts of dvc.yaml's stages; each calls one function of facesr."""

import os

# Must stand before PyTorch loads. Idle OpenMP threads spin by default: one other busy process on
# two cores then slows a training step from 0.15 s to 3 s.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

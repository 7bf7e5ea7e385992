"""Face super-resolution as a reproducible experiment."""

import warnings

__version__ = "0.1.0"

# fastai's use of PyTorch and pandas, which cannot be fixed here, would head every output.
for _message in (
    ".torch.jit.script. is deprecated",
    ".torch.nn.utils.weight_norm. is deprecated",
    "The .mode.chained_assignment. option",
):
    warnings.filterwarnings("ignore", message=_message)

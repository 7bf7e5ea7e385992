"""The registered model as MLflow serves it: encoded pictures in, enlarged PNG pictures out.

MLflow's models-from-code: this file is stored with the weights and executed at loading, so nothing
is pickled. Only `mlflow models serve` and `mlflow.pyfunc.load_model` use it; the command and the
dashboard download the weights and execute nothing.

https://mlflow.org/docs/latest/ml/model/models-from-code/
"""

from typing import Any

import mlflow
from pandas import DataFrame

from facesr import images
from facesr.enhancer import Enhancer
from facesr.errors import DataError, FaceSRError, ParamsError

LARGEST = 8192
"""Longer side in pixels that a request may ask for; beyond it one request exhausts the server."""


class EnhancerModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """An `Enhancer` behind MLflow's interface."""

    def load_context(self, context: Any) -> None:
        """Reads the weights that MLflow has put beside this file."""
        self._enhancer = Enhancer.from_checkpoint(context.artifacts["weights"])

    def predict(
        self, context: Any, model_input: DataFrame, params: dict[str, Any] | None = None
    ) -> DataFrame:
        """Enlarges each picture.

        Args:
            context: Unused; MLflow hands it over.
            model_input: Column `image` holds encoded pictures (JPEG, PNG, WebP, TIFF or BMP).
            params: `size` is the longer side of the results in pixels.

        Returns:
            The same rows with `image`, the PNG, and `error`, which is empty. A picture that cannot
            be enlarged leaves `image` empty and says the reason in `error`.
        """
        size = (params or {}).get("size")
        answers = [self._answer(image, size) for image in model_input["image"]]
        pictures, errors = zip(*answers, strict=True) if answers else ((), ())
        return DataFrame({"image": list(pictures), "error": list(errors)}, index=model_input.index)

    def _answer(self, image: object, size: int | None) -> tuple[bytes, str]:
        try:
            if not isinstance(image, bytes):
                raise DataError("The picture is missing. Send its file as bytes.")
            if size is not None and size > LARGEST:
                raise ParamsError(f"Size {size} is too large. Ask for at most {LARGEST} pixels.")
            enlarged = self._enhancer.enhance(images.read(image), size=size).image
        except FaceSRError as error:
            return b"", str(error)
        return images.encode_png(enlarged), ""


mlflow.models.set_model(EnhancerModel())

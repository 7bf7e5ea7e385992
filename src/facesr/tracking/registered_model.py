"""The registered model as MLflow serves it: encoded images in, enlarged PNG images out.

MLflow's models-from-code: this file is stored with the weights and executed at loading, so nothing
is pickled. Only `mlflow models serve` and `mlflow.pyfunc.load_model` use it; the command and the
dashboard download the weights and execute nothing.

https://mlflow.org/docs/latest/ml/model/models-from-code/
"""

from typing import Any

import mlflow
from pandas import DataFrame

from facesr import __version__
from facesr.enhance.enhancer import EnhanceOptions, Enhancer
from facesr.errors import DataError, FaceSRError, ParamsError
from facesr.images import photos

LARGEST = 8192
"""Longer side in pixels that a request may ask for; beyond it one request exhausts the server."""


class EnhancerModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """An `Enhancer` behind MLflow's interface."""

    def load_context(self, context: Any) -> None:
        """Read the weights that MLflow has put beside this file."""
        self._enhancer = Enhancer.from_checkpoint(context.artifacts["weights"])

    def predict(
        self, context: Any, model_input: DataFrame, params: dict[str, Any] | None = None
    ) -> DataFrame:
        """Enlarge each image.

        Args:
            model_input: Column `image` holds encoded images (JPEG, PNG, WebP, TIFF, GIF or BMP).
            params: `size` is the longer side of the results in pixels, `strength` from 0 (faithful)
                to 1 (crisp) the mixture of the weights.

        Returns:
            The same rows with `image`, the PNG, and `error`, the reason if an image is empty.
        """
        asked = {
            name: value
            for name, value in (params or {}).items()
            if name in ("size", "strength") and value is not None
        }
        options = EnhanceOptions(**asked)
        answers = [self._answer(image, options) for image in model_input["image"]]
        results, errors = zip(*answers, strict=True) if answers else ((), ())
        return DataFrame({"image": list(results), "error": list(errors)}, index=model_input.index)

    def _answer(self, image: object, options: EnhanceOptions) -> tuple[bytes, str]:
        try:
            if not isinstance(image, bytes):
                raise DataError("The image is missing. Send its file as bytes.")
            if (options.size or 0) > LARGEST:
                raise ParamsError(
                    f"Size {options.size} is too large. Ask for at most {LARGEST} pixels."
                )
            photo = photos.read(image, max_pixels=LARGEST**2)
            enhanced, result = self._enhancer.enhance_photo(photo, options)
            software = f"facesr {__version__}, {result.model}"
            return photos.encode(enhanced, file_format="png", software=software), ""
        except FaceSRError as error:
            return b"", str(error)


mlflow.models.set_model(EnhancerModel())

"""All ways to a result give the same pixels, so that measurements hold for users."""

import io

import numpy as np
import pytest
import torch
from pandas import DataFrame
from PIL import Image
from tiny import network, with_fidelity

from facesr import images
from facesr.cli import main
from facesr.enhance.enhancer import EnhanceOptions, Enhancer
from facesr.evaluation import scores
from facesr.models.checkpoints import save_networks

# Warnings about MLflow's own code.
pytestmark = pytest.mark.filterwarnings(r"ignore:::mlflow\.")


@pytest.fixture
def weights(tmp_path):
    """A chain of two networks with both operating points, as the registry holds it."""
    networks = [with_fidelity(network()), network(seed=1)]
    path = tmp_path / "weights.safetensors"
    save_networks(path, networks)
    return path


def loaded_by_mlflow(weights, folder):
    """The registered model as `mlflow models serve` has it: saved and loaded by MLflow itself."""
    import mlflow

    from facesr.tracking import registered_model, registration

    mlflow.pyfunc.save_model(
        folder,
        python_model=registered_model.__file__,
        artifacts={"weights": str(weights)},
        signature=registration._signature(),
        pip_requirements=[],
    )
    return mlflow.pyfunc.load_model(str(folder))


def test_library_command_registered_model_and_evaluation_agree(weights, tmp_path):
    generator = torch.Generator().manual_seed(0)
    lr = images.round_to_8bit(torch.rand(3, 24, 24, generator=generator))
    images.write(tmp_path / "in" / "a.png", lr)
    enhancer = Enhancer.from_checkpoint(weights)

    library = images.to_uint8(enhancer.enhance(lr, EnhanceOptions(size=90)).image)

    measured = images.to_uint8(scores.enhanced_by(enhancer)(lr, 90))

    arguments = ["--size", "90", "--model", str(weights), "--device", "auto"]
    main(["enhance", str(tmp_path / "in"), "-o", str(tmp_path / "out"), *arguments])
    commanded = images.to_uint8(images.read(tmp_path / "out" / "a.png"))

    served = loaded_by_mlflow(weights, tmp_path / "model")
    rows = DataFrame({"image": [(tmp_path / "in" / "a.png").read_bytes()]})
    answer = served.predict(rows, {"size": 90, "strength": 1.0})
    assert list(answer["error"]) == [""]
    with Image.open(io.BytesIO(answer["image"][0])) as image:
        predicted = torch.from_numpy(np.array(image)).permute(2, 0, 1)

    for other in (measured, commanded, predicted):
        assert torch.equal(other, library)
    bicubic = images.to_uint8(Enhancer.bicubic().enhance(lr, EnhanceOptions(size=90)).image)
    assert not torch.equal(library, bicubic)

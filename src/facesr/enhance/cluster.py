"""Enhancement of many images on many machines, with Ray Data.

Needs Ray (`pip install 'facesr[cluster]'`) on every machine, and images in an object store or a
shared file system. Each worker holds one model; Ray Data assigns images and repeats the work of
dead workers. A result is written atomically once; a second worker leaves it alone.
"""

import logging
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from facesr.enhance.batch import Options, Outcome, enhance_file
from facesr.enhance.enhancer import Enhancer
from facesr.enhance.jobs import Job
from facesr.errors import ParamsError, import_extra

LOCAL = "local"


def run(
    enhancer: Enhancer,
    jobs: Sequence[Job],
    options: Options,
    *,
    address: str,
    workers: int | None = None,
) -> Iterator[Outcome]:
    """Enhance images on a cluster and yield their outcomes as `batch.run` does.

    Args:
        enhancer: Its weights are sent to the workers, which need no registry.
        jobs: Jobs from `jobs.plan`; all machines see their paths.
        address: `local` starts Ray on this machine for the time of the work; else that of a
            cluster, such as `10.0.0.1:6379`, `ray://10.0.0.1:10001` or `auto`.
        workers: None takes one for each GPU of the cluster, or each processor if it has none.

    Raises:
        ParamsError: Ray is not installed, or no cluster answers.
    """
    ray = _start(address)
    try:
        gpus, cpus = (int(ray.cluster_resources().get(name, 0)) for name in ("GPU", "CPU"))
        size = min(workers or gpus or cpus or 1, len(jobs))
        absolute = [
            replace(job, source=job.source.resolve(), target=job.target.resolve()) for job in jobs
        ]
        shown = dict(zip(absolute, jobs, strict=True))
        outcomes = ray.data.from_items([{"job": job} for job in absolute]).map(
            _Worker,
            fn_constructor_kwargs={"weights": _pack(enhancer), "options": options},
            compute=ray.data.ActorPoolStrategy(size=size),
            num_cpus=0 if gpus else 1,
            num_gpus=1 if gpus else 0,
        )
        for row in outcomes.iter_rows():
            outcome: Outcome = row["outcome"]
            yield replace(outcome, job=shown[outcome.job])
    finally:
        ray.shutdown()


def _start(address: str) -> ModuleType:
    ray: ModuleType = import_extra("ray")
    import_extra("ray.data")
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            **({"include_dashboard": False} if address == LOCAL else {}),
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ParamsError(
            f"No Ray cluster answers at {address} ({str(error).splitlines()[0]}). Check the "
            "address, or say: --ray local"
        ) from error
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    ray.data.DataContext.get_current().enable_progress_bars = False
    return ray


def _pack(enhancer: Enhancer) -> dict[str, Any]:
    if not enhancer.networks:
        return {"content": b"", "model": enhancer.model, "precision": enhancer.precision}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        enhancer.save(path)
        content = path.read_bytes()
    return {"content": content, "model": enhancer.model, "precision": enhancer.precision}


def _unpack(weights: dict[str, Any]) -> Enhancer:
    if not weights["content"]:
        return Enhancer.bicubic()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        path.write_bytes(weights["content"])
        enhancer = Enhancer.from_checkpoint(path, precision=weights["precision"])
    enhancer.model = weights["model"]
    return enhancer


class _Worker:
    def __init__(self, weights: dict[str, Any], options: Options) -> None:
        self.enhancer = _unpack(weights)
        self.options = options

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"outcome": enhance_file(self.enhancer, row["job"], self.options)}

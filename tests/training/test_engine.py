import csv
import shutil

import pytest
import torch
from conftest import STAGES, WEIGHTS, make_project, run_stage
from launching import launch_two
from torch import nn

from facesr import devices
from facesr.config import BicubicParams
from facesr.data import pairs
from facesr.data.degradation import Degradation
from facesr.data.pairs import FRESH, FreshViews
from facesr.devices import choose_dtype
from facesr.errors import ParamsError, TrainingError
from facesr.losses import content
from facesr.models import build
from facesr.models.checkpoints import load_network
from facesr.training import gan, pretrain
from facesr.training.engine import MicroBatches, SharedStep, accelerated
from facesr.training.processes import Processes, check_division, join_processes

CPU = torch.device("cpu")
ALONE = Processes(0, 1, CPU)
HALF = BicubicParams(kind="bicubic", base_scale=2)


def losses(root, stage):
    with (root / "reports" / stage / "curves.csv").open() as file:
        return [[float(value) for value in row.values()] for row in csv.DictReader(file)]


def parameters(root, name):
    module = load_network(root / f"models/{name}.safetensors").module
    return torch.cat([one.detach().flatten() for one in module.parameters()])


@pytest.mark.parametrize("name", ["train_generator", "train_critic"])
def test_a_batch_in_parts_gives_the_network_of_a_whole_one(name, tmp_path, monkeypatch):
    root = make_project(tmp_path, train_critic__network__dropout=0.0)
    for stage in STAGES[: STAGES.index(name) + 1]:
        run_stage(stage, root, monkeypatch)
    expected, weights = losses(root, name), parameters(root, WEIGHTS[name])
    params = root / "params.yaml"
    params.write_text(params.read_text().replace("accumulate: 1\n", "accumulate: 2\n", 1))
    run_stage(name, root, monkeypatch)
    for mine, theirs in zip(losses(root, name), expected, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-5)
    assert 0 < (parameters(root, WEIGHTS[name]) - weights).abs().max() < 1e-4


def test_parts_add_up_to_the_gradient_of_the_whole():
    torch.manual_seed(0)
    whole, parted = nn.Linear(4, 1), nn.Linear(4, 1)
    parted.load_state_dict(whole.state_dict())
    x, y = torch.rand(6, 4), torch.rand(6, 1)

    def step(network, optimizer):
        def one(x, y):
            loss = nn.functional.mse_loss(network(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        return one

    first = torch.optim.AdamW(whole.parameters(), lr=0.1)
    second = SharedStep(torch.optim.AdamW(parted.parameters(), lr=0.1), parts=3, processes=ALONE)
    for _ in range(3):
        step(whole, first)(x, y)
        for part in zip(x.chunk(3), y.chunk(3), strict=True):
            step(parted, second)(*part)
    assert torch.allclose(whole.weight, parted.weight, atol=1e-6)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("train_generator", marks=pytest.mark.slow),
        "train_gan",
        pytest.param("train_upsampler", marks=pytest.mark.slow),
    ],
)
def test_two_processes_train_as_one_with_the_doubled_batch(name, tmp_path, monkeypatch):
    # Dropout draws in each process for itself.
    one = make_project(tmp_path, train_critic__network__dropout=0.0)
    for stage in STAGES[: STAGES.index(name) + 1]:
        run_stage(stage, one, monkeypatch)
    expected, weights = losses(one, name), parameters(one, name.removeprefix("train_"))
    done = launch_two("-m", f"stages.{name}", folder=one)
    assert done.returncode == 0, done.stderr
    for mine, theirs in zip(losses(one, name), expected, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-4)
    assert (parameters(one, name.removeprefix("train_")) - weights).abs().max() < 1e-4


@pytest.mark.slow
def test_two_processes_find_each_other(tmp_path):
    (tmp_path / "meet.py").write_text(
        "import torch\n"
        "from facesr.training.processes import join_processes\n"
        "own = join_processes()\n"
        "mean = own.average(torch.tensor(float(own.rank))).item()\n"
        "open(f'{own.rank}.txt', 'w').write(f'{own.count} {mean}')\n"
        "own.close()\n"
    )
    done = launch_two("meet.py", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [(tmp_path / f"{rank}.txt").read_text() for rank in (0, 1)] == ["2 0.5", "2 0.5"]


def test_processes_that_do_not_find_each_other_train_nothing(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ParamsError, match=r"2 processes were started.*RANK.*torchrun"):
        join_processes()


def test_every_process_takes_its_shard():
    batch = torch.arange(6)
    shards = [batch[Processes(rank, 2, CPU).shard].tolist() for rank in (0, 1)]
    assert shards == [[0, 2, 4], [1, 3, 5]]


@pytest.mark.parametrize("name", ["train_generator", "train_gan"])
def test_fresh_views_lie_on_the_device_of_the_process(name, tmp_path, monkeypatch):
    root = make_project(tmp_path)
    for stage in STAGES[: STAGES.index(name)]:
        run_stage(stage, root, monkeypatch)
    fresh = FreshViews(Degradation("half", {"half": HALF}), (1, 1))
    (root / "data/pairs/train/lr" / FRESH).write_text(fresh.to_json())
    own, devices = torch.device("cpu:0"), []  # Not the "cpu" that would be picked.
    draw = pairs.draw_views

    def remember(*args, device, **kwargs):
        devices.append(device)
        return draw(*args, device=device, **kwargs)

    monkeypatch.setattr(pairs, "draw_views", remember)
    module = pretrain if name == "train_generator" else gan
    monkeypatch.setattr(module, "join_processes", lambda: Processes(0, 1, own))
    run_stage(name, root, monkeypatch)
    assert devices
    assert set(devices) == {own}


def test_the_network_stays_on_the_device_that_was_picked(tmp_path, monkeypatch):
    # As fastai does on Apple's computers, where it picks another device than facesr.
    monkeypatch.setattr("fastai.callback.core.default_device", lambda: torch.device("meta"))
    root = make_project(tmp_path)
    for stage in ("train_generator", "train_critic"):
        run_stage(stage, root, monkeypatch)
        assert parameters(root, WEIGHTS[stage]).isfinite().all()


def test_an_indivisible_batch_is_one_clear_line():
    check_division(8, 2, Processes(0, 2, CPU))
    with pytest.raises(ParamsError, match="batch of 6 cannot be divided into 4 equal parts"):
        check_division(6, 2, Processes(0, 2, CPU))


def test_a_batch_larger_than_the_data_is_one_clear_line(tmp_path, monkeypatch):
    phase = {"crop_size": 16, "batch_size": 64, "epochs": 1, "learning_rate": 1e-3}
    root = make_project(
        tmp_path, train_generator__phases=[{**phase, "encoder_learning_rate": 1e-3}]
    )
    with pytest.raises(Exception, match="A batch of 64 is larger than the 12 crops") as error:
        run_stage("train_generator", root, monkeypatch)
    assert "\n" not in str(error.value)


def test_too_little_memory_names_the_parameter(tmp_path, monkeypatch):
    def greedy(sr, hr):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    monkeypatch.setitem(content.PIXEL_TERMS, "l1", greedy)
    root = make_project(tmp_path)
    with pytest.raises(
        TrainingError, match=r"at step 1\. Raise training\.max_accumulate in params.yaml .now 4"
    ):
        run_stage("train_generator", root, monkeypatch)


ON_A_GPU = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
ON_A_CPU = RuntimeError(
    "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."
)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("train_generator", ON_A_CPU),
        ("train_gan", ON_A_GPU),
        pytest.param("train_generator", ON_A_GPU, marks=pytest.mark.slow),
        pytest.param("train_gan", ON_A_CPU, marks=pytest.mark.slow),
    ],
)
def test_a_batch_that_does_not_fit_is_halved_and_accumulated(
    name, error, tmp_path, monkeypatch, caplog
):
    sizes = []

    def narrow(sr, hr):
        sizes.append(len(sr))
        if len(sr) > 1:
            raise error
        return nn.functional.l1_loss(sr, hr)

    changes = {"train_generator__content": {"l1": 1.0}, "train_critic__network__dropout": 0.0}
    root = make_project(tmp_path, **changes)
    for stage in STAGES[: STAGES.index(name) + 1]:
        run_stage(stage, root, monkeypatch)
    expected = losses(root, name)
    with monkeypatch.context() as patch:
        patch.setitem(content.PIXEL_TERMS, "l1", narrow)
        run_stage(name, root, patch)
    whole = 4 if name == "train_generator" else 2
    halvings = [whole, 2, 1] if whole == 4 else [2, 1]
    assert sizes[: len(halvings)] == halvings
    assert sizes.count(whole) == 1  # It is not tried again in every step.
    assert f"goes on with {whole}. To begin so, set training.accumulate: {whole}" in caplog.text
    for mine, theirs in zip(losses(root, name), expected, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-4)


def test_other_errors_are_not_taken_for_too_little_memory():
    def wrong(count):
        raise RuntimeError("shapes differ")

    parts = MicroBatches(1, most=8, processes=ALONE)
    with pytest.raises(RuntimeError, match="shapes differ"):
        parts.run(wrong, 8)
    assert parts.count == 1


def test_with_other_processes_a_batch_is_not_cut_by_itself():
    def greedy(count):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    parts = MicroBatches(1, most=8, processes=Processes(0, 2, CPU))
    with pytest.raises(torch.OutOfMemoryError):
        parts.run(greedy, 8)
    assert parts.count == 1


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1))


def test_bfloat16_is_for_a_while_and_stays_inside():
    network, x = small(), torch.rand(1, 3, 16, 16)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    expected = network(x)
    with accelerated(network, dtype=torch.bfloat16, device=CPU, compiled=False):
        y = network(x)
        assert y.dtype == torch.float32
        assert 0 < (y - expected).abs().max() < 0.02
    assert torch.equal(network(x), expected)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])
        assert tensor.is_contiguous()


def test_float32_changes_nothing():
    network, x = small(), torch.rand(1, 3, 16, 16)
    expected = network(x)
    with accelerated(network, dtype=torch.float32, device=CPU, compiled=False):
        assert torch.equal(network(x), expected)


def test_auto_asks_the_device(monkeypatch):
    monkeypatch.setattr(devices, "has_fast_bfloat16", lambda device: True)
    assert choose_dtype("auto", CPU) == torch.bfloat16
    assert choose_dtype("float32", CPU) == torch.float32
    monkeypatch.setattr(devices, "has_fast_bfloat16", lambda device: False)
    assert choose_dtype("auto", CPU) == torch.float32
    assert choose_dtype("bfloat16", CPU) == torch.bfloat16


@pytest.mark.parametrize("name", ["train_generator", "train_gan"])
def test_a_training_in_bfloat16_ends_near_that_in_float32(name, trained, tmp_path, monkeypatch):
    root = make_project(tmp_path, training__precision="bfloat16")
    for stage in ("train_generator", "train_critic", "train_gan"):
        run_stage(stage, root, monkeypatch)
        if stage == name:
            break
    for mine, theirs in zip(losses(root, name), losses(trained, name), strict=True):
        assert mine == pytest.approx(theirs, rel=0.1)
    weights = WEIGHTS[name]
    difference = (parameters(root, weights) - parameters(trained, weights)).abs().max()
    # Six steps of Adam at a rate of 1e-3 move a weight by 6e-3 at most, each in its own direction.
    assert 0 < difference < 2 * 6e-3


NETWORKS = {
    "residual_unet": {
        **{"backbone": "resnet18", "pretrained": False, "width": 8, "levels": 2, "scale": 2},
        **{"decoder_blocks": 1, "body_blocks": 1, "unshuffle": 1, "head": "stepwise"},
    },
    "patch_critic": {"features": 4, "blocks": 2, "dropout": 0.0},
    "unet_critic": {"features": 4},
    "global_critic": {"features": 4, "side": 16},
}


def gradients_of(network, x):
    network.zero_grad()
    y = network(x)
    y.square().mean().backward()
    return y.detach(), {name: one.grad for name, one in network.named_parameters()}


@pytest.mark.slow
@pytest.mark.parametrize("kind", NETWORKS)
def test_a_compiled_network_gives_the_same_and_learns_the_same(kind):
    torch.manual_seed(0)
    network = build({"kind": kind, **NETWORKS[kind]})
    x = torch.rand(2, 3, 32, 32)
    for _ in range(20):
        network(x)  # Spectral norm finds its vectors, which move at every call in training.
    network.eval()
    expected, expected_gradients = gradients_of(network, x)
    with accelerated(network, dtype=torch.float32, device=CPU, compiled=True):
        y, gradients = gradients_of(network, x)
        if kind.endswith("critic"):
            judged = network.forward_with_features(x)
    assert torch.allclose(y, expected, atol=1e-4)
    for name, one in expected_gradients.items():
        assert torch.allclose(gradients[name], one, rtol=1e-3, atol=1e-4), name
    if kind.endswith("critic"):
        assert torch.allclose(judged.logits, expected, atol=1e-4)
    assert torch.equal(network(x), expected)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_compiled_training_ends_near_that_which_is_not(precision, trained, tmp_path, monkeypatch):
    root = make_project(tmp_path, training__compile=True, training__precision=precision)
    for stage in ("train_generator", "train_critic", "train_gan"):
        run_stage(stage, root, monkeypatch)
        for mine, theirs in zip(losses(root, stage), losses(trained, stage), strict=True):
            assert mine == pytest.approx(theirs, rel=1e-3 if precision == "float32" else 0.1)
        # The next one starts where the other did: what a training adds is its own.
        for made in ("models", "data/generated"):
            shutil.copytree(trained / made, root / made, dirs_exist_ok=True)


@pytest.mark.parametrize("kind", ["patch_critic", "unet_critic", "global_critic"])
def test_a_critics_features_are_made_in_bfloat16_too(kind):
    critic, x = build({"kind": kind, **NETWORKS[kind]}).eval(), torch.rand(1, 3, 32, 32)
    exact = critic.forward_with_features(x)
    with accelerated(critic, dtype=torch.bfloat16, device=CPU, compiled=False):
        judged = critic.forward_with_features(x)
        # fastai's layers give float32 where a norm follows in it, of values that were bfloat16.
        assert not torch.equal(judged.features[-1].float(), exact.features[-1])
        assert judged.logits.dtype == critic(x).dtype == torch.float32
    assert all(one.dtype == torch.float32 for one in critic.forward_with_features(x).features)

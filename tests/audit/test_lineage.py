"""Reading back what was published: lineage, cards, comparisons, on tiny networks."""

import hashlib
import json
import math
import os
import shlex
import shutil
import sqlite3
import subprocess
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from test_tracking import (
    TRAINED,
    make_project,
    migrated_database,
    networks,
    publish_project,
    train_again,
)

from facesr import cli
from facesr.audit import comparison, lineage
from facesr.audit.verification import folder_md5
from facesr.commands import data
from facesr.data.manifest import NOT_TO_BE_SHOWN, Entry, write_manifest
from facesr.data.removed import hash_origin
from facesr.errors import DataError, ParamsError, RegistryError
from facesr.models.checkpoints import load_networks
from facesr.names import FULL_SIZE, UPSAMPLED
from facesr.paths import EVALUATION_SETS
from facesr.stats import Interval, interval, read_table
from facesr.tracking import (
    as_lines,
    download,
    find_version,
    promote,
    read_card,
    read_record,
    versions_that_saw,
)
from facesr.tracking.card import write_card

pytestmark = pytest.mark.filterwarnings(r"ignore:::mlflow\.")
FIXTURES = (migrated_database, networks)

HEADER = "set,size,method,stem,psnr"


@pytest.fixture(scope="module")
def project(tmp_path_factory, migrated_database, networks):
    """Two versions: the first of a DVC experiment, the second better; only to be read."""
    folder = tmp_path_factory.mktemp("lineage")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("MLFLOW_", "DVC_"))]:
            patch.delenv(name)
        patch.chdir(folder)
        root = make_project(folder / "project", migrated_database, networks)
        write_faces(root)
        patch.setenv("DVC_EXP_NAME", "brisk-otter")
        publish_project(root)
        patch.setenv("DVC_EXP_NAME", "calm-heron")
        publish_project(root)
        patch.delenv("DVC_EXP_NAME")
        train_again(root, [24.5, 25.6, 27.0], seed=1)
        write_faces(root, digest="e")
        publish_project(root)
    return root


def write_faces(root, digest=""):
    """Write the manifest; another data seed gives other files, of the same origin."""
    licences = ["CC-BY-NC-4.0", "CC-BY-NC-4.0", "CC0-1.0", "CC0-1.0"]
    entries = [
        Entry(
            f"images/{number}.png",
            "train" if number < 3 else "test",
            f"ffhq:{number}",
            "64",
            (f"{number}" * 20 + digest * 44).ljust(64, f"{number}"),
            licence,
        )
        for number, licence in enumerate(licences)
    ]
    write_manifest(root / "data" / "faces", entries)
    rows = ["split,sha256,origin_sha256"]
    rows += [f"{one.split},{one.sha256},{hash_origin(one.origin)}" for one in entries]
    (root / "reports/fetch_faces/images.csv").write_text("\n".join(rows) + "\n")
    lock = root / "dvc.lock"
    text = lock.read_text()
    # The stage that fetches lists its folder as an out.
    out = f"    - path: data/faces\n      hash: md5\n      md5: abc{digest}.dir\n      size: 1\n"
    start = text.index("    outs:\n", text.index("  fetch_faces:"))
    lock.write_text(text[:start] + "    outs:\n" + out + text[start + len("    outs:\n") :])


def test_a_version_shows_its_images_decision_and_intervals(project):
    found = lineage.describe(project, "1")
    assert found["version"] == 1
    assert found["aliases"] == []
    assert found["experiment"] == "brisk-otter"
    assert found["images"] == {
        "splits": {"train": 3, "test": 1},
        "sources": {"ffhq": 4},
        "licences": {"CC-BY-NC-4.0": 2, "CC0-1.0": 2},
    }
    assert "Better than the starter" in found["decisions"]["gate.reason"]
    [row] = found["measurement"]
    # 24, 25 and 26.5 dB: mean 25.1667, s = 1.2583, Student's t(0.975, 2) = 4.3027.
    assert row["mean"] == pytest.approx(25.1667, abs=1e-4)
    assert row["high"] - row["mean"] == pytest.approx(4.3027 * 1.2583 / math.sqrt(3), abs=1e-3)
    assert row["gain"] == pytest.approx(25.1667 - 23, abs=1e-4)
    assert found["params"]["train_gan.batch"] == "4"
    assert json.loads(json.dumps(found)) == found
    text = lineage.as_text(found)
    assert "CC-BY-NC-4.0 2" in " ".join(text.split())
    assert "25.167 [22.041, 28.29" in text


def test_lineage_is_a_screen_and_all_of_it_on_demand(project):
    found = lineage.describe(project, "1")
    assert found["code"] == {"revision": TRAINED["git.rev"], "dirty": "false"}
    assert found["environment"]["device"] == "NVIDIA H200"
    assert found["environment"]["torch"] == "2.9.0"
    assert found["environment"]["fastai"] == "unknown"
    short, long = lineage.as_text(found), lineage.as_text(found, everything=True)
    assert len(short.splitlines()) <= 25
    assert "train_gan.batch" not in short
    assert "train_gan.batch" in long
    assert found["runs"]["train_gan"] in long


def test_to_make_it_again_names_the_revision_that_trained_it_and_what_differs_from_it(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    before = "training_seed: 7\nbeta: 0.1\nphases: [{epochs: 1}]\nnames: '*'\ncontent: {l1: 1.0}\n"
    (tmp_path / "params.yaml").write_text(before)
    identity = ("-c", "user.name=Anna", "-c", "user.email=anna@example.org")
    for command in (("init", "-q"), ("add", "-A"), (*identity, "commit", "-qm", "first")):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    revision = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=tmp_path, check=True, capture_output=True, text=True
    ).stdout.strip()
    after = "training_seed: 8\nbeta: 0.1\nphases: [{epochs: 2}]\nnames: a_*\ncontent: {mse: 1.0}\n"
    tags = {"git.rev": revision, "git.dirty": "false"}
    commands = lineage._commands(tmp_path, 4, tags, after)
    assert commands[0] == f"git checkout {revision}"
    assert shlex.split(commands[1]) == [
        *("dvc", "exp", "run", "-S", "training_seed=8", "-S", "phases=[{epochs:2}]"),
        *("-S", "names='a_*'", "-S", "~content.l1", "-S", "+content.mse=1.0"),
    ]
    assert commands[2].startswith("facesr reproduce 4")
    assert lineage._commands(tmp_path, 4, {}, after) == [
        "# The revision that trained it is unknown."
    ]
    lost = lineage._commands(tmp_path, 4, {**tags, "git.rev": "b" * 40}, after)
    assert lost == ["facesr reproduce 4"]


def test_a_state_is_found_by_version_alias_run_and_experiment(project):
    by_experiment = read_record(project, "brisk-otter")
    assert by_experiment.version.number == 1
    # The second experiment came to the state of the first.
    for name in (
        "1",
        "facesr/1",
        "calm-heron",
        by_experiment.run_id,
        by_experiment.stages["train_gan"],
    ):
        assert read_record(project, name).run_id == by_experiment.run_id
    champion = read_record(project, "facesr@champion")
    assert (champion.version.number, champion.aliases) == (2, ("champion",))
    # Its images were fetched by the run of the first state.
    assert champion.stages["fetch_faces"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("7", "facesr/7 is not registered"),
        ("calm-newt", "calm-newt is no version, parent run or experiment"),
        ("0" * 32, "is no version, parent run or experiment"),
        ("'; DROP TABLE runs", "is no version, parent run or experiment"),
    ],
)
def test_an_unknown_name_is_reported(project, name, message):
    with pytest.raises(RegistryError, match=message):
        read_record(project, name)


def test_a_run_of_another_experiment_is_refused(project):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{project}/mlflow.db")
    other = client.create_run(client.create_experiment("other", (project / "other").as_uri()))
    with pytest.raises(RegistryError, match="belongs to another experiment than facesr"):
        read_record(project, other.info.run_id)


def test_an_image_names_the_versions_that_saw_it_or_another_file_of_its_origin(project):
    assert versions_that_saw(project, sha256=["2" * 64]) == ({1: {"train"}, 2: {"train"}}, [])
    assert versions_that_saw(project, sha256=["2" * 12]) == ({1: {"train"}, 2: {"train"}}, [])
    assert versions_that_saw(project, sha256=["3" * 12])[0] == {1: {"test"}, 2: {"test"}}
    assert versions_that_saw(project, sha256=["9" * 64]) == ({}, [])
    # Version 2 has the file of another data seed.
    seen, _ = versions_that_saw(project, sha256=["1" * 64])
    assert seen == {1: {"train"}, 2: {"train"}}
    # A selfie of the same number is another image.
    selfie = Entry("2.png", "selfies", "ffhq:2", "64", "8" * 64, "CC0-1.0")
    assert versions_that_saw(project, entries=[selfie]) == ({}, [])
    assert versions_that_saw(project, entries=[selfie._replace(split="test")])[0].keys() == {1, 2}


def test_lineage_of_an_image_and_the_removal_of_it_name_the_same_versions(
    project, capsys, monkeypatch
):
    monkeypatch.chdir(project)
    cli.main(["lineage", "--image", "2" * 64])
    output = capsys.readouterr().out
    assert output == "facesr/1 was trained with it (train)\nfacesr/2 was trained with it (train)\n"
    removed = Entry("images/2.png", "train", "ffhq:2", "64", "2" * 64, "CC0-1.0")
    seen = versions_that_saw(project, entries=[removed])
    assert "\n".join(as_lines(*seen)) + "\n" == output
    with pytest.raises(SystemExit):
        cli.main(["lineage", "--image", "2"])
    assert "fewer than 12 digits" in capsys.readouterr().err


def test_an_interrupted_publish_does_not_hide_who_saw_an_image(project, tmp_path, monkeypatch):
    root = shutil.copytree(project, tmp_path / "copy")
    # As a publish leaves it that was killed after the registration.
    with sqlite3.connect(root / "mlflow.db") as database:
        moved = (f"file://{project}", f"file://{root}")
        database.execute(
            "UPDATE experiments SET artifact_location = replace(artifact_location, ?, ?)", moved
        )
        database.execute("UPDATE runs SET artifact_uri = replace(artifact_uri, ?, ?)", moved)
        database.execute(
            "UPDATE runs SET status = 'FAILED' WHERE run_uuid = "
            "(SELECT run_id FROM model_versions WHERE version = 1)"
        )
    assert versions_that_saw(root, sha256=["2" * 64])[0] == {1: {"train"}, 2: {"train"}}


def test_the_advice_after_a_removal_says_what_else_the_collection_deletes():
    advice = " ".join(data.NEXT.split())
    assert "with it those of all other profiles, commits and experiments" in advice


def test_the_card_lies_among_the_versions_own_files(project):
    weights = Path(urlsplit(find_version(project, "facesr/2").weights).path)
    card = weights.parents[1] / "card.md"
    assert card.read_text() == read_card(project, "2")
    kept = card.read_bytes()
    card.unlink()
    try:
        with pytest.raises(RegistryError, match=r"facesr/2 has no model card .* Run: dvc repro"):
            read_card(project, "2")
    finally:
        card.write_bytes(kept)


def test_the_card_names_licences_with_their_consequence_and_the_gain_over_bicubic(project):
    card = read_card(project, "2")
    assert card.startswith("# facesr version 2\n")
    assert "3 faces" in card
    assert "no commercial use" in card
    assert "On 0 of 3 selfies bicubic has the higher PSNR" in card
    assert "+2.7 [" in card
    for heading in ("Intended use", "Not for", "Licences", "By source and group"):
        assert f"\n## {heading}\n" in card


def test_the_card_shows_networks_metrics_by_group_or_that_they_are_not_available(tmp_path):
    table = tmp_path / "per_image.csv"
    rows = [
        f"selfies,full size,{method},{stem},{psnr},{lpips},"
        for method, psnr, lpips in (("bicubic", 23, 0.4), ("GAN + up-sampler", 25, 0.3))
        for stem in "abcd"
    ]
    table.write_text("\n".join(["set,size,method,stem,psnr,lpips,identity", *rows]) + "\n")
    entries = [
        Entry(f"{stem}.png", "test", "s:1", "64", "", "CC0", attributes=json.dumps({"hat": hat}))
        for stem, hat in zip("abcd", (0, 0, 1, 1), strict=True)
    ]
    (tmp_path / "selfies").mkdir()
    write_manifest(tmp_path / "selfies", entries)
    path = tmp_path / "card.md"
    write_card(1, {}, table, {"selfies": tmp_path / "selfies"}, path)
    cells = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in path.read_text().splitlines()
        if line.startswith("| selfies")
    ]
    assert ["selfies: lpips", "4", "0.3", "-0.1 [-0.1, -0.1]"] in cells
    assert ["selfies: identity", "0", "not available", "not available"] in cells
    assert ["selfies: hat = 1: lpips", "2 (few)", "-0.1 ± 0", "+0 ± 0"] in cells
    assert not [row for row in cells if "hat = 1: identity" in row[0]]


def test_a_comparison_shows_what_differs_and_the_paired_difference(project):
    result = comparison.compare(project, ["1", "2"])
    [row] = result.metrics
    # 0.5, 0.6 and 0.5 dB.
    assert row[:2] == ["selfies: psnr", "25.167"]
    assert row[2].startswith("+0.533 [+0.39")
    assert result.params == []
    assert "2 - 1" in comparison.as_text(result)
    with pytest.raises(ParamsError, match="two or more different"):
        comparison.compare(project, ["1", "1"])


def test_images_that_are_not_those_of_the_measurement_are_refused(project, tmp_path):
    result = comparison.compare(project, ["1", "2"])
    folder = project / "data" / "pairs" / "selfies"
    folder.mkdir(parents=True, exist_ok=True)
    selfies = EVALUATION_SETS["selfies"]
    with pytest.raises(DataError, match="does not hold the images"):
        comparison.write_sheet(project, result, "selfies", selfies, tmp_path / "s.png", count=1)
    assert not (tmp_path / "s.png").exists()


def test_a_comparison_shows_the_largest_differences_among_the_images_that_may_be_shown():
    def entry(stem, licence):
        return Entry(f"{stem}.png", "test", "folder:x", "64", "", licence)

    entries = {
        "a": entry("a", "CC BY 4.0"),
        "b": entry("b", "CC BY 4.0"),
        "c": entry("c", f"research; {NOT_TO_BE_SHOWN}"),
    }
    psnr = [{"a": 30.0, "b": 30.0, "c": 30.0}, {"a": 30.1, "b": 29.5, "c": 20.0}]
    assert comparison._largest_differences(psnr, entries) == ["b", "a"]
    assert comparison._largest_differences(psnr, {"c": entries["c"]}) == []


def test_a_folders_hash_is_that_of_its_sorted_list_of_files(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x").write_bytes(b"1")
    (tmp_path / "a").write_bytes(b"2")
    one, two = (hashlib.md5(content).hexdigest() for content in (b"1", b"2"))
    listed = f'[{{"md5": "{two}", "relpath": "a"}}, {{"md5": "{one}", "relpath": "b/x"}}]'
    assert folder_md5(tmp_path) == hashlib.md5(listed.encode()).hexdigest() + ".dir"
    with pytest.raises(DataError, match="does not exist"):
        folder_md5(tmp_path / "missing")


def test_one_image_has_no_interval():
    assert interval([3.0])[:1] == (3.0,)
    assert math.isnan(interval([3.0]).low)
    with pytest.raises(DataError, match=r"per_image\.csv is damaged"):
        read_table("set,size\nfaces,full size\n")


def experiments(*rows):
    """A comparison of experiments with `batches`, seed and PSNR on one image."""
    records = [
        SimpleNamespace(name=f"w-{number}", params={"training_seed": seed})
        for number, (_, seed, _) in enumerate(rows, start=1)
    ]
    tables = [{("selfies", FULL_SIZE, UPSAMPLED): {"psnr": {"a": psnr}}} for *_, psnr in rows]
    params = [
        ["train_gan.batches", *(batches for batches, *_ in rows)],
        ["training_seed", *(seed for _, seed, _ in rows)],
    ]
    return comparison.Comparison(records, tables, params, [])


def test_a_spread_over_seeds_is_of_paired_differences():
    text = comparison.over_seeds(
        experiments(
            *(("2", "1", 20.0), ("2", "2", 30.0), ("2", "3", 25.0)),
            *(("4", "1", 20.1), ("4", "2", 30.3), ("4", "3", 25.2)),
            *(("8", "1", 20.0), ("8", "2", 30.0), ("8", "3", 25.0)),
        ),
        "psnr",
        "selfies",
    )
    # 0.1, 0.3 and 0.2 dB: standard error 0.1 / sqrt(3), beside 2.9 dB of the means.
    assert "+0.2 ± 0.058" in text
    assert "+0 ± 0" in text
    assert "± 2.9" in text


def test_a_spread_over_seeds_names_the_seeds_and_the_best_combination_first():
    trials = (("2", "1", 24.0), ("2", "2", 26.0), ("4", "1", 27.0))
    text = comparison.over_seeds(experiments(*trials), "psnr", "selfies")
    lines = [line for line in text.splitlines() if line.startswith("| train_gan")]
    assert "difference to train_gan.batches=2" in text
    # Seed 1 has a result of both: 27 - 24 dB.
    assert "".join(lines[0].split()) == "|train_gan.batches=4|27|+3|1|"
    assert "".join(lines[1].split()) == "|train_gan.batches=2|25±1||1,2|"
    with pytest.raises(ParamsError, match=r"w-4 repeats parameters and seed\."):
        comparison.over_seeds(experiments(*trials, trials[0]), "psnr", "selfies")
    with pytest.raises(RegistryError, match=r"w-1 has no psnr on faces\."):
        comparison.over_seeds(experiments(*trials), "psnr", "faces")


def test_an_experiment_in_a_temporary_folder_writes_to_the_projects_store(tmp_path):
    from facesr.tracking import tracking_uri

    inside = tmp_path / ".dvc" / "tmp" / "exps" / "tmpabc"
    inside.mkdir(parents=True)
    assert tracking_uri(inside) == tracking_uri(tmp_path)


@pytest.mark.parametrize(
    "name", ["2", "champion", "facesr/2", "facesr@champion", "models:/facesr@champion"]
)
def test_every_command_takes_a_version_by_each_of_its_names(
    project, tmp_path, monkeypatch, capsys, name
):
    monkeypatch.chdir(project)
    assert find_version(project, name).number == 2
    assert read_record(project, name).version.number == 2
    cli.main(["card", name])
    cli.main(["lineage", name])
    assert "version 2" in " ".join(capsys.readouterr().out.split())
    cli.main(["export", name, "-o", str(tmp_path / "x.safetensors")])
    whole = load_networks(download(project, "2"))
    exported = load_networks(tmp_path / "x.safetensors")
    assert [each.architecture for each in exported] == [each.architecture for each in whole]
    assert (exported[0].fidelity is None) == (whole[0].fidelity is None)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("77", "facesr/77 is not registered in .* There are versions 1 to 2."),
        ("facesr@rival", "facesr@rival is not registered in .* There are versions 1 to 2."),
        ("rival", "rival does not name a model version. .* There are versions 1 to 2."),
    ],
)
def test_where_a_version_is_missing_those_that_exist_are_named(project, name, message):
    with pytest.raises(RegistryError, match=message):
        find_version(project, name)
    with pytest.raises(RegistryError, match=message):
        promote(project, name, reason="best")


def test_what_rounding_leaves_of_nothing_is_compared_as_nothing():
    shown = comparison._shown(Interval(-9.04e-21, -8.98e-5, 8.98e-5, 3), 3e-4)
    assert shown == "+0 [-8.98e-05, +8.98e-05]"
    assert comparison._shown(Interval(1e-9, -1e-9, 3e-9, 3), 30).startswith("+1e-09 ")


def test_promoting_a_version_by_number_and_alias(project):
    with pytest.raises(RegistryError, match="facesr@challenger is not registered"):
        promote(project, "facesr@challenger", reason="best")

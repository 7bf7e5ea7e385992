import math

import pytest

from benchmarks.gate import NOISES, false_promotions, student
from facesr.config import load_params
from facesr.errors import DataError
from facesr.names import BICUBIC
from facesr.stats import Summary, read_table
from facesr.tracking.gate import (
    Decision,
    Rule,
    compare,
    decide,
    describe_learned,
    hold_first,
    margin,
    scores_of,
)

RULE = Rule("psnr", "selfies", "full size", "GAN + up-sampler", confidence=0.9975)
SERVING = {"a": 24.0, "b": 25.0, "c": 26.0, "d": 27.0}
STARTER = "the starter"
CHAMPION = "version 1"
# By image and in dB: how far the new version lies from a reference.
SHIFTS = {
    "better": (0.3, 0.4, 0.3, 0.4),
    "within the error": (2.0, -1.0, 0.5, -0.9),
    "equal": (0.0, 0.0, 0.0, 0.0),
    "worse": (-0.3, -0.4, -0.3, -0.4),
}


def behind(name, offset=0.0):
    """A reference that `SERVING` is ahead of by the shifts of that name."""
    shifts = zip(SERVING.items(), SHIFTS[name], strict=True)
    return {stem: value - shift - offset for (stem, value), shift in shifts}


@pytest.mark.parametrize("champion", [*SHIFTS, None])
@pytest.mark.parametrize("starter", SHIFTS)
@pytest.mark.parametrize("bicubic", SHIFTS)
def test_only_a_version_that_is_better_than_all_that_served_before_becomes_champion(
    champion, starter, bicubic
):
    references = {BICUBIC: behind(bicubic), STARTER: behind(starter)}
    if champion:
        references[CHAMPION] = behind(champion)

    decision = decide(SERVING, references, RULE)

    assert decision.is_champion == ({bicubic, starter, champion} <= {"better", None})
    for name in references:
        assert f"against {name}" in decision.reason


def test_the_reason_names_what_was_compared_with_what_in_db_over_how_many_images():
    references = {
        BICUBIC: behind("better", 2),
        STARTER: behind("better"),
        CHAMPION: behind("worse"),
    }
    assert decide(SERVING, references, RULE).reason == (
        "Not better than version 1 by more than chance: psnr on selfies over 4 images: "
        "+2.35 ± 0.029 dB against bicubic, +0.35 ± 0.029 dB against the starter, "
        "-0.35 ± 0.029 dB against version 1; more than +0.215 dB against version 1 is needed."
    )
    del references[CHAMPION]
    assert decide(SERVING, references, RULE).reason.startswith("Better than the starter: psnr on")


def test_a_version_worse_than_the_starter_never_serves_though_the_champion_is_worse_still():
    references = {BICUBIC: behind("better"), STARTER: behind("worse"), CHAMPION: behind("better")}
    decision = decide(SERVING, references, RULE)
    assert not decision.is_champion
    assert decision.reason.startswith("Not better than the starter")


@pytest.mark.parametrize("first", SHIFTS)
def test_a_chain_whose_first_network_is_behind_the_starter_never_serves(first):
    small = RULE._replace(size="generator size")
    better = Decision(True, "Better than the starter: ...")
    decision = hold_first(better, SERVING, behind(first), small)
    assert decision.is_champion == (first != "worse")
    refused = Decision(False, "Not better than the starter ...")
    assert hold_first(refused, SERVING, behind(first), small) == refused
    if first == "worse":
        assert decision.reason == (
            "Its first network, which alone serves small scales, is behind the starter: psnr on "
            "selfies over 4 images at generator size: -0.35 ± 0.029 dB."
        )


@pytest.mark.parametrize("metric", ["mse", "lpips"])
def test_a_lower_error_is_better_than_a_higher_one(metric):
    rule = RULE._replace(metric=metric)
    high = dict.fromkeys("abc", 100.0)
    low = {"a": 90.0, "b": 91.0, "c": 92.0}
    assert decide(low, {BICUBIC: high}, rule).is_champion
    assert not decide(high, {BICUBIC: low}, rule).is_champion
    assert "dB" not in decide(low, {BICUBIC: high}, rule).reason


@pytest.mark.parametrize("reference", [{"a": 25.0}, {"b": 25.0}, {}])
def test_one_image_or_none_proves_nothing(reference):
    decision = decide({"a": 30.0}, {BICUBIC: reference}, RULE)
    assert not decision.is_champion
    assert "more than two images or more" not in decision.reason


def test_the_margin_follows_students_t_distribution():
    # Differences 1, 2, 3: mean 2, standard deviation 1, standard error 1/sqrt(3).
    difference = compare({"a": 1, "b": 2, "c": 3}, {"a": 0, "b": 0, "c": 0}, "psnr")
    assert difference.mean == 2
    assert difference.standard_error == pytest.approx(1 / math.sqrt(3))
    # Student's t with two degrees of freedom: 0.95 -> 2.9200, 0.975 -> 4.3027.
    assert margin(difference, 0.95) == pytest.approx(2.9200 / math.sqrt(3), abs=1e-4)
    assert (
        decide({"a": 1, "b": 2, "c": 3}, {BICUBIC: dict.fromkeys("abc", 0)}, RULE).is_champion
        is False
    )
    lenient = RULE._replace(confidence=0.95)
    assert decide({"a": 1, "b": 2, "c": 3}, {BICUBIC: dict.fromkeys("abc", 0)}, lenient).is_champion
    assert math.isnan(margin(Summary(1.0, math.nan, 1, 0), 0.95))


@pytest.mark.parametrize(("images", "repeats"), [(3, 4000), (16, 2000), (32, 2000), (300, 500)])
@pytest.mark.parametrize("noise", NOISES)
def test_twenty_repeats_of_one_recipe_promote_one_by_luck_in_five_percent_at_most(
    noise, images, repeats
):
    confidence = load_params(any_device=True).publish.confidence
    factor = student(confidence, images)
    assert false_promotions(NOISES[noise], images, factor, repeats=repeats) <= 0.05
    # The former margin.
    assert false_promotions(NOISES[noise], images, 1.0, repeats=500) > 0.5


def test_a_table_gives_the_values_of_its_set_size_and_methods_only():
    text = (
        "set,size,method,stem,psnr\n"
        "selfies,full size,bicubic,a,23.5\n"
        "selfies,full size,GAN + up-sampler,a,25\n"
        "selfies,full size,GAN + up-sampler,b,\n"
        "selfies,generator size,GAN,a,30\n"
        "faces,full size,bicubic,a,20\n"
    )
    table = read_table(text)
    ours, bicubic = scores_of(table, RULE, ["GAN + up-sampler", "bicubic"])
    assert ours == {"a": 25.0, "b": pytest.approx(math.nan, nan_ok=True)}
    assert bicubic == {"a": 23.5}
    with pytest.raises(DataError, match="no psnr of bicubic at full size on animals"):
        scores_of(table, RULE._replace(evaluation_set="animals"), ["bicubic"])
    with pytest.raises(DataError, match="no ssim of bicubic at full size on selfies"):
        scores_of(table, RULE._replace(metric="ssim"), ["bicubic"])


LEARNED_TABLE = """\
set,size,method,stem,psnr,lpips,identity
selfies,full size,bicubic,a,23.5,0.4,
selfies,full size,bicubic,b,24.5,0.3,
selfies,full size,starter,a,24.5,0.3,
selfies,full size,starter,b,24.5,0.25,
selfies,full size,GAN + up-sampler,a,25,0.2,
selfies,full size,GAN + up-sampler,b,25,0.1,
faces,full size,GAN + up-sampler,b,25,0.9,
"""


def test_the_gate_reports_what_networks_measure_and_what_is_not_available():
    assert describe_learned(read_table(LEARNED_TABLE), RULE) == (
        "Means there: lpips 0.1500 (bicubic 0.3500, starter 0.2750), identity not available."
    )
    without = "set,size,method,stem,psnr\nselfies,full size,GAN + up-sampler,a,25\n"
    assert describe_learned(read_table(without), RULE) == (
        "Means there: lpips not available, identity not available."
    )


def test_a_metric_that_is_not_available_decides_nothing():
    table, methods = read_table(LEARNED_TABLE), ["GAN + up-sampler", "bicubic"]
    [own, bicubic] = scores_of(table, RULE._replace(metric="lpips"), methods)
    assert compare(own, bicubic, "lpips").mean == pytest.approx(0.2)
    with pytest.raises(DataError, match=r"no identity of GAN \+ up-sampler, bicubic at full size"):
        scores_of(table, RULE._replace(metric="identity"), methods)

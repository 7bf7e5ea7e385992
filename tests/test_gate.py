import itertools
import math

import pytest

from facesr.errors import DataError
from facesr.tracking.gate import Measured, Rule, compare, decide, read_scores

RULE = Rule("psnr", "selfies", "full size", "GAN + up-sampler", standard_errors=1.0)
BICUBIC = dict.fromkeys("abcd", 23.0)
SERVING = {"a": 24.0, "b": 25.0, "c": 26.0, "d": 27.0}
# By picture and in dB: how far the new version lies from the one that serves.
AGAINST_CHAMPION = {
    "better": (0.3, 0.4, 0.3, 0.4),
    "within the error": (2.0, -1.0, 0.5, -0.9),
    "equal": (0.0, 0.0, 0.0, 0.0),
    "worse": (-0.3, -0.4, -0.3, -0.4),
}


def measured(scores, *, number=2, profile="small", evaluation="set-1"):
    return Measured(number, profile, evaluation, scores)


@pytest.mark.parametrize("profile", ["small", "smoke"])
@pytest.mark.parametrize("evaluation", ["set-1", "set-2"])
@pytest.mark.parametrize("against_champion", AGAINST_CHAMPION)
@pytest.mark.parametrize("against_bicubic", [1.0, 0.0, -1.0])
def test_only_a_comparable_version_that_beats_champion_and_bicubic_becomes_champion(
    profile, evaluation, against_champion, against_bicubic
):
    champion = measured(SERVING, number=1)
    shifts = AGAINST_CHAMPION[against_champion]
    scores = {stem: SERVING[stem] + shift for stem, shift in zip(SERVING, shifts, strict=True)}
    bicubic = {stem: value - against_bicubic for stem, value in scores.items()}

    decision = decide(
        measured(scores, profile=profile, evaluation=evaluation), bicubic, champion, RULE
    )

    expected = (profile, evaluation, against_champion, against_bicubic) == (
        *("small", "set-1"),
        *("better", 1.0),
    )
    assert decision.is_champion == expected
    # The first obstacle is the one that is told.
    obstacles = [
        (profile != "small", "of profile small, this one of smoke"),
        (evaluation != "set-1", "measured on other pictures"),
        (against_bicubic <= 0, "does not beat bicubic"),
        (against_champion != "better", "Not better by 1 standard errors"),
        (True, "Better: psnr on selfies against version 1 +0.35 ± 0.029 (4 pictures)"),
    ]
    reason = next(text for stands, text in obstacles if stands)
    assert reason in decision.reason


@pytest.mark.parametrize("against_bicubic", [1.0, 0.0, -1.0])
def test_without_a_champion_the_first_version_serves_and_says_how_it_stands_to_bicubic(
    against_bicubic,
):
    scores = {stem: 23.0 + against_bicubic for stem in BICUBIC}
    decision = decide(measured(scores), BICUBIC, None, RULE)
    assert decision.is_champion
    assert f"against bicubic {against_bicubic:+.4g}" in decision.reason


@pytest.mark.parametrize(
    ("own", "theirs"), [*itertools.permutations(["small", "smoke", "paper"], 2)]
)
def test_no_profile_replaces_another_profiles_champion_however_good_it_is(own, theirs):
    scores = {stem: value + 10 for stem, value in SERVING.items()}
    champion = measured(SERVING, number=1, profile=theirs)
    assert not decide(measured(scores, profile=own), BICUBIC, champion, RULE).is_champion


def test_a_lower_error_is_better_than_a_higher_one():
    rule = RULE._replace(metric="mse")
    champion = measured(dict.fromkeys("abc", 100.0), number=1)
    candidate = measured({"a": 90.0, "b": 91.0, "c": 92.0})
    bicubic = dict.fromkeys("abc", 200.0)
    assert decide(candidate, bicubic, champion, rule).is_champion
    assert not decide(champion, bicubic, candidate, rule).is_champion


def test_one_picture_proves_nothing():
    decision = decide(measured({"a": 30.0}), BICUBIC, measured({"a": 25.0}, number=1), RULE)
    assert not decision.is_champion


def test_a_champion_whose_values_are_lost_keeps_its_place():
    decision = decide(measured(SERVING), BICUBIC, measured({}, number=1), RULE)
    assert not decision.is_champion
    assert "values by picture are lost" in decision.reason


def test_the_margin_is_the_standard_error_of_the_differences():
    # Differences 1, 2, 3: mean 2, standard deviation 1, standard error 1/sqrt(3).
    difference = compare({"a": 1, "b": 2, "c": 3}, {"a": 0, "b": 0, "c": 0}, "psnr")
    assert difference.mean == 2
    assert difference.standard_error == pytest.approx(1 / math.sqrt(3))
    champion = measured(dict.fromkeys("abc", 0.0), number=1)
    candidate = measured({"a": 1.0, "b": 2.0, "c": 3.0})
    below = dict.fromkeys("abc", -1.0)
    assert decide(candidate, below, champion, RULE._replace(standard_errors=3.46)).is_champion
    assert not decide(candidate, below, champion, RULE._replace(standard_errors=3.47)).is_champion


def test_a_table_gives_the_values_of_its_set_size_and_methods_only():
    text = (
        "set,size,method,stem,psnr\n"
        "selfies,full size,bicubic,a,23.5\n"
        "selfies,full size,GAN + up-sampler,a,25\n"
        "selfies,full size,GAN + up-sampler,b,\n"
        "selfies,generator size,GAN,a,30\n"
        "faces,full size,bicubic,a,20\n"
    )
    ours, bicubic = read_scores(text, RULE, ["GAN + up-sampler", "bicubic"])
    assert ours == {"a": 25.0, "b": math.inf}
    assert bicubic == {"a": 23.5}
    with pytest.raises(DataError, match="no rows for bicubic at full size on animals"):
        read_scores(text, RULE._replace(evaluation_set="animals"), ["bicubic"])
    with pytest.raises(DataError, match="lacks the column 'ssim'"):
        read_scores(text, RULE._replace(metric="ssim"), ["bicubic"])

"""Each state of the page says what it is and what to do."""

import io
import json
import threading

import pytest
from conftest import image_bytes, tiny_enhancer, wait_until
from PIL import Image
from streamlit.delta_generator import DeltaGenerator

import intake
import service
import serving
import session
from components.result import download
from facesr import images
from facesr.enhance import enhancer
from facesr.enhance.enhancer import Enhancer
from facesr.errors import DataError
from facesr.images.faces import Box

PNG = image_bytes()
COLOURS = ((200, 0, 0), (0, 200, 0), (0, 0, 200))


def test_an_empty_page_says_how_to_start(page):
    shown = page()
    assert "Drop one or more face images here to start, or try an example." in shown.texts
    assert shown.at.button(key="go").disabled


def test_without_a_model_images_are_enlarged_with_bicubic_and_labelled_so(page):
    shown = page()
    assert "**No model is registered yet.**" in shown.texts
    assert "run `dvc repro`" in shown.texts
    shown.enhance(("kid.png", PNG))
    assert "48 x 40 → 512 x 427 px, " in shown.texts
    assert "Bicubic (no model)" in shown.texts
    assert shown.results[0].enhanced.model == "bicubic"


def test_without_a_model_the_starter_serves_where_there_is_one(page, monkeypatch, project):
    tiny_enhancer().save(project / "starter.safetensors")
    monkeypatch.setattr(serving, "has_starter", lambda: True)
    shown = page()
    assert "Images are enhanced with the starter model" in shown.texts
    shown.enhance(("kid.png", PNG))
    assert shown.results[0].enhanced.label == "the starter model"
    assert shown.results[0].enhanced.model.startswith("starter.safetensors (")


def test_the_champion_serves_with_its_measured_quality_beside_that_of_bicubic(page, registry):
    registry.versions = {6: (), 7: ("champion",)}
    shown = page()
    assert "facesr v7 · champion" in shown.texts
    assert "Test PSNR 35.00 dB (bicubic 26.40)" in shown.texts
    shown.enhance(("kid.png", PNG))
    assert registry.loads == [7]
    assert shown.results[0].enhanced.label == "facesr v7"
    assert shown.results[0].enhanced.note is None


@pytest.mark.parametrize("has_starter", [True, False])
def test_without_a_champion_the_starter_serves_and_the_challenger_is_named(
    page, registry, monkeypatch, project, has_starter
):
    if has_starter:
        tiny_enhancer().save(project / "starter.safetensors")
        monkeypatch.setattr(serving, "has_starter", lambda: True)
    registry.versions = {6: (), 7: ("challenger",)}
    registry.tags = {7: {"gate.reason": "Not better than the starter: -0.5 ± 0.1."}}
    label = "the starter model" if has_starter else "Bicubic (no model)"
    shown = page()
    assert "**No version is champion.**" in shown.texts
    assert "facesr v7 (challenger) is registered and does not serve. Not better" in shown.texts
    assert "No champion. facesr v7 does not serve." in shown.texts
    shown.enhance(("kid.png", PNG))
    assert registry.loads == []
    assert shown.results[0].enhanced.label == label
    assert shown.results[0].enhanced.note.title == "No version is champion"
    shown.run(shown.at.selectbox(key="model").set_value("facesr/7"))
    shown.click("go")
    assert shown.results[0].enhanced.label == "facesr v7"
    assert shown.results[0].enhanced.note is None


def test_a_version_without_any_alias_is_named_where_none_is_champion(page, registry):
    registry.versions = {6: (), 7: ()}
    assert "facesr v7 is registered and does not serve." in page().texts


def test_an_unreachable_registry_is_reported_and_the_last_good_model_serves(page, registry):
    registry.versions = {7: ("champion",)}
    shown = page()
    shown.enhance(("kid.png", PNG))
    registry.is_away = True
    serving.shared().catalogue(refresh=True)
    shown.enhance(("other.png", image_bytes(seed=1)))
    assert "The model registry does not answer" in shown.texts
    assert "Using the last loaded model facesr v7." in shown.texts
    assert shown.results[0].enhanced.label == "facesr v7"
    registry.is_away = False
    shown.click("retry")
    assert "MLflow at http://mlflow:5000" not in shown.texts


def test_a_registry_that_never_answered_leaves_bicubic(page, registry):
    registry.is_away = True
    shown = page()
    assert "**The model registry does not answer.** MLflow at http://mlflow:5000" in shown.texts
    shown.enhance(("kid.png", PNG))
    assert "Using Bicubic (no model)." in shown.texts


def test_a_broken_champion_is_replaced_by_the_one_before_it_with_a_code(page, registry):
    registry.versions = {4: (), 5: (), 6: (), 7: ("champion",), 8: ("challenger",)}
    registry.tags = {
        4: {"champion.since": "2026-01-01"},
        5: {"champion.since": "2026-01-02"},
        6: {"champion.since": "2026-01-03", "withdrawn.reason": "It blurred."},
        7: {"champion.since": "2026-01-04"},
    }
    registry.broken = {7}
    shown = page()
    shown.enhance(("kid.png", PNG))
    assert "**The model could not be loaded.** facesr v7 (code M2). Using facesr v5." in shown.texts


def test_a_broken_champion_is_not_replaced_by_a_version_that_never_served(page, registry):
    registry.versions = {6: (), 7: ("champion",), 8: ("challenger",)}
    registry.broken = {7}
    shown = page()
    shown.enhance(("kid.png", PNG))
    assert registry.loads == [7]
    assert "facesr v7 (code M2). Using Bicubic (no model)." in shown.texts


def test_a_model_that_moves_to_another_version_is_followed(page, registry):
    registry.versions = {6: ("champion",), 7: ()}
    shown = page()
    shown.enhance(("kid.png", PNG))
    registry.versions = {6: (), 7: ("champion",)}
    serving.shared().catalogue(refresh=True)
    shown.run(shown.at)
    assert "facesr v7 · champion" in shown.texts
    shown.click("go")
    assert [r.enhanced.label for r in shown.results] == ["facesr v6"]
    shown.enhance(("other.png", image_bytes(seed=1)))
    assert shown.results[0].enhanced.label == "facesr v7"


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("notes.png", b"just text", "It is not a JPEG, PNG or WebP image."),
        (
            "IMG_1.heic",
            b"\0\0\0\x18ftypheic" + bytes(40),
            "It is an Apple HEIC image. Export it as JPEG and try again.",
        ),
        ("torn.jpg", image_bytes(96, 96, "JPEG")[:700], "It is damaged and could not be read."),
        (
            "tiny.png",
            image_bytes(8, 8),
            "It is 8 x 8; the smallest side must be at least 16 pixels.",
        ),
        (
            "big.png",
            image_bytes(600, 300),
            "It is 600 x 300, already larger than 512 x 512. Choose a larger size.",
        ),
        ("nothing.png", b"", "It is empty."),
    ],
)
def test_an_image_that_is_not_taken_says_why_and_the_others_go_on(page, name, data, sentence):
    shown = page()
    shown.enhance((name, data), ("good.png", PNG))
    assert f" was not enhanced. {sentence}" in shown.texts
    assert [r.name for r in shown.results] == ["good.png"]


def test_while_the_first_model_loads_the_page_says_so(page, registry, monkeypatch):
    said = []

    def progress(self, value, text=None, **options):
        said.append(text)
        return shown_by_streamlit(self, value, text, **options)

    shown_by_streamlit = DeltaGenerator.progress
    monkeypatch.setattr(DeltaGenerator, "progress", progress)
    registry.versions = {7: ("champion",)}
    shown = page()
    shown.enhance(("kid.png", PNG))
    assert r"1 of 1: kid\.png. Loading the model ..." in said
    said.clear()
    shown.enhance(("other.png", image_bytes(seed=1)))
    assert said
    assert not any("Loading" in text for text in said)


def test_too_many_files_are_cut_and_reported(page):
    shown = page()
    shown.upload(*((f"{n}.png", image_bytes(seed=n)) for n in range(22)))
    assert "20 images at a time. The first 20 are used." in shown.texts
    assert "Enhance 20 images" in [b.label for b in shown.at.button]


def test_the_sizes_are_shown_before_anything_runs(page):
    shown = page()
    shown.upload(("kid.png", PNG))
    assert r"kid\.png: 48 x 40 → 512 x 427 px (10.7x larger)" in shown.texts
    assert "Above x8 the model has little to work with; expect invented detail." in shown.texts


def test_a_full_queue_says_that_too_many_people_are_here(page):
    shown = page()
    gate = service.shared_gate()
    release = threading.Event()
    threads = [
        threading.Thread(target=gate.run, args=(lambda: release.wait(20),)) for _ in range(9)
    ]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(gate) == 9)
    shown.enhance(("kid.png", PNG))
    release.set()
    for thread in threads:
        thread.join()
    assert "Too many people are using this now. Try again in a moment." in shown.texts


def test_too_little_memory_names_a_smaller_size(page, registry, monkeypatch):
    registry.versions = {7: ("champion",)}

    def fail(self, *args, **options):
        raise DataError("The memory does not suffice.")

    monkeypatch.setattr(Enhancer, "enhance", fail)
    shown = page()
    shown.run(shown.at.button_group(key="size").set_value(2048))
    shown.enhance(("kid.png", PNG))
    assert "There was not enough memory for 2048 x 2048. Try 1024 x 1024." in shown.texts


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (MemoryError(), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("Expected a contiguous memory format"), False),
    ],
)
def test_only_a_lack_of_memory_is_called_so(project, registry, monkeypatch, error, is_memory):
    def fail(self, *args, **options):
        raise error

    monkeypatch.setattr(Enhancer, "enhance", fail)
    with pytest.raises(intake.RefusedError if is_memory else RuntimeError) as caught:
        service.enhance(PNG, service.Settings())
    assert getattr(caught.value, "code", "") == ("no_memory" if is_memory else "")


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_of_an_animated_file_the_first_image_is_taken_and_the_page_says_so(page, kind):
    moving = animated(kind)
    shown = page()
    shown.upload(("moving.png", moving), ("still.png", PNG))
    assert shown.texts.count(intake.FIRST_ONLY) == 1
    shown.click("go")
    still, first = shown.results
    assert (first.enhanced.remark, still.enhanced.remark) == (intake.FIRST_ONLY, "")
    assert opened(first).getpixel((256, 200)) == (200, 0, 0)


def test_of_an_animated_file_the_compare_page_takes_the_first_image_and_says_so(page):
    shown = page("compare")
    file = ("moving.png", animated("PNG", 128), "image/png")
    shown.run(shown.at.file_uploader(key="own").set_value(file))
    assert intake.FIRST_ONLY in shown.texts


def test_a_constant_result_is_refused(page, registry, monkeypatch):
    registry.versions = {7: ("champion",)}
    original = Enhancer.enhance

    def black(self, *args, **options):
        result = original(self, *args, **options)
        return result._replace(image=result.image * 0)

    monkeypatch.setattr(Enhancer, "enhance", black)
    shown = page()
    shown.enhance(("kid.png", PNG))
    assert "The model returned an empty image." in shown.texts
    assert shown.results == []


def test_without_a_face_the_whole_image_is_enhanced_and_the_page_says_so(page, registry):
    registry.versions = {7: ("champion",)}
    shown = page()
    shown.enhance(("kid.png", PNG))
    shown.run(shown.at.button_group(key="part").set_value("only"))
    shown.click("go")
    assert "No face was found; the whole image was enhanced." in shown.texts
    only, whole = shown.results
    assert pixels(only) == pixels(whole)


def test_faces_alone_leave_the_rest_to_bicubic(page, registry, monkeypatch):
    registry.versions = {7: ("champion",)}
    monkeypatch.setattr(enhancer, "find_faces", lambda image: [Box(8, 8, 24, 24)])
    shown = page()
    shown.upload(("kid.png", PNG))
    for choice in ("off", "only", "also"):
        shown.run(shown.at.button_group(key="part").set_value(choice))
        shown.click("go")
    also, only, whole = (pixels(result) for result in shown.results)
    assert len({also, only, whole}) == 3
    corner = (0, 0, 64, 64)
    bicubic = images.to_pillow(service.enlarged(shown.results[1].enhanced)).crop(corner)
    assert opened(shown.results[1]).crop(corner).tobytes() == bicubic.tobytes()
    assert opened(shown.results[2]).crop(corner).tobytes() != bicubic.tobytes()
    assert "No face was found" not in shown.texts


def test_bicubic_offers_no_faces(page):
    assert "part" not in [group.key for group in page().at.button_group]


def animated(kind, side=48):
    buffer = io.BytesIO()
    first, *others = (Image.new("RGB", (side, side - 8), colour) for colour in COLOURS)
    options = {"lossless": True} if kind == "WEBP" else {}
    first.save(buffer, kind, save_all=True, append_images=others, duration=100, **options)
    return buffer.getvalue()


def opened(result):
    return Image.open(io.BytesIO(result.enhanced.png))


def pixels(result):
    return opened(result).tobytes()


def test_every_control_changes_what_is_shown(page, registry):
    registry.versions = {7: ("champion",)}
    shown = page()
    shown.enhance(("kid.png", PNG))

    def shown_images():
        component = [
            json.loads(c.proto.json)
            for c in shown.at.get("bidi_component")
            if "after" in c.proto.json
        ][0]
        return component["before"], component["after"]

    before, after = shown_images()
    assert before != after
    shown.run(shown.at.slider(key="blend").set_value(0))
    assert shown_images() == (before, before)
    shown.run(shown.at.slider(key="blend").set_value(100))
    shown.run(shown.at.button_group(key="before").set_value("nearest"))
    assert shown_images()[0] != before
    shown.run(shown.at.slider(key="strength").set_value(0))
    shown.click("go")
    assert shown_images()[1] != after
    assert [r.enhanced.settings.strength for r in shown.results] == [0, 1]


def test_two_visitors_never_see_each_others_images(page):
    one, other = page(), page()
    one.enhance(("mine.png", PNG))
    other.run(other.at)
    assert len(one.results) == 1
    assert "mine" not in other.texts
    assert other.at.session_state["work"].results == []


def test_the_oldest_results_give_way_and_the_visitor_is_informed(page, monkeypatch):
    monkeypatch.setattr(session, "MAX_RESULTS", 2)
    shown = page()
    shown.enhance(*((f"{n}.png", image_bytes(seed=n)) for n in range(3)))
    assert [r.name for r in shown.results] == ["2.png", "1.png"]
    assert "The oldest 1 results were dropped" in shown.texts


def test_the_browser_asks_before_results_or_a_queue_are_lost(page):
    def asks(shown):
        found = [json.loads(c.proto.json) for c in shown.at.get("bidi_component")]
        return next(data["ask"] for data in found if "ask" in data)

    shown = page()
    assert not asks(shown)
    shown.upload(("kid.png", PNG))
    assert not asks(shown)
    shown.click("go")
    assert asks(shown)
    work = shown.at.session_state["work"]
    for result in work.results:
        download(result, 1.0, "png")
    shown.run(shown.at)
    assert not asks(shown)
    work.queue.append(work.results)
    assert work.is_unsaved


def test_a_pasted_image_is_removed_alone(page):
    shown = page()
    pasted = [session.InputImage(f"{n}.png", image_bytes(seed=n)) for n in range(3)]
    shown.at.session_state["work"].extra = list(pasted)
    shown.run(shown.at)
    shown.click("unpaste_1")
    assert shown.at.session_state["work"].extra == [pasted[0], pasted[2]]
    assert "Enhance 2 images" in [b.label for b in shown.at.button]


def test_clear_forgets_everything(page):
    shown = page()
    shown.enhance(("kid.png", PNG))
    offered = shown.at.session_state["work"].offered
    assert [file.name for file in offered] == ["kid_512.png"]
    shown.click("clear")
    assert shown.results == []
    assert not offered
    assert "Drop one or more face images here" in shown.texts


def test_remove_takes_one_result_away(page):
    shown = page()
    shown.enhance(("a.png", PNG), ("b.png", image_bytes(seed=1)))
    shown.click("remove")
    assert [r.name for r in shown.results] == ["a.png"]
    offered = shown.at.session_state["work"].offered
    assert {file.name for file in offered} == {"a_512.png"}

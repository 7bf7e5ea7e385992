"""The page in a real browser: by mouse, touch and keys, in every theme, for many visitors."""

import io
import re
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import pytest
import served
from axe_playwright_python.sync_playwright import Axe
from PIL import Image, ImageDraw

DIVIDER = "Before/after divider"


def face(path, seed=0, size=96):
    image = Image.new("RGB", (size, size), (90 + seed, 130, 170))
    draw = ImageDraw.Draw(image)
    draw.ellipse((18, 10, 78, 90), fill=(225, 180, 150))
    draw.ellipse((34, 38, 42, 46), fill="black")
    draw.ellipse((56, 38, 64, 46), fill="black")
    draw.arc((36, 50, 62, 74), 20, 160, fill=(150, 40, 40), width=3)
    image.save(path)
    return path


@pytest.fixture
def kid(tmp_path):
    return face(tmp_path / "kid.png")


def upload(page, *files):
    page.get_by_test_id("stFileUploaderDropzoneInput").first.set_input_files(list(files))


def enhance(page, count=1):
    plural = "" if count == 1 else "s"
    page.get_by_role("button", name=f"Enhance {count} image{plural}").click()


def divider(page):
    found = page.get_by_role("slider", name=DIVIDER)
    found.wait_for()
    found.scroll_into_view_if_needed()
    return found


def download(page, name="Download PNG"):
    with page.expect_download() as event:
        page.get_by_role("link", name=name).click()
    return Path(event.value.path()).read_bytes(), event.value.suggested_filename


def test_upload_enhance_look_and_download(visit, base, kid):
    page = visit(base)
    upload(page, kid)
    page.get_by_text("kid.png: 96 x 96 → 512 x 512 px (5.3x larger)").wait_for()
    enhance(page)
    slider = divider(page)
    stage = slider.locator("xpath=..")
    box = stage.bounding_box()
    page.mouse.click(box["x"] + 0.25 * box["width"], box["y"] + 0.5 * box["height"])
    assert abs(float(slider.input_value()) - 25) <= 2
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 0.5 * box["height"], steps=5)
    page.mouse.up()
    assert abs(float(slider.input_value()) - 75) <= 2
    data, name = download(page)
    image = Image.open(io.BytesIO(data))
    assert (name, image.format, image.size) == ("kid_512.png", "PNG", (512, 512))
    assert "model facesr/1 (" in image.getexif()[0x0131]


def test_the_divider_obeys_the_keyboard_and_zooms(visit, base, kid):
    page = visit(base)
    upload(page, kid)
    page.get_by_role("button", name="Enhance 1 image").wait_for()
    page.locator("body").press("e")
    slider = divider(page)
    stage = slider.locator("xpath=..")
    slider.focus()
    page.keyboard.press("Home")
    left = stage.screenshot()
    page.keyboard.press("End")
    assert slider.input_value() == "100"
    assert stage.screenshot() != left
    assert "100% Input (bicubic)" in slider.get_attribute("aria-valuetext")
    page.keyboard.press("+")
    page.keyboard.press("+")
    zoomed = stage.screenshot()
    assert page.get_by_text("400%").count() == 1
    page.keyboard.press("Shift+ArrowUp")
    assert stage.screenshot() != zoomed
    page.keyboard.press("0")
    assert page.get_by_text("100%", exact=True).count() >= 1
    page.get_by_role("button", name="Zoom in").click()
    assert page.get_by_text("200%").count() == 1
    page.get_by_role("button", name="Reset zoom").click()
    stage.dblclick(position={"x": 50, "y": 50})
    assert page.get_by_text("400%").count() == 1


def test_divider_and_zoom_stay_when_the_view_changes(visit, base, kid):
    page = visit(base)
    upload(page, kid)
    enhance(page)
    slider = divider(page)
    slider.focus()
    page.keyboard.press("Home")
    page.keyboard.press("+")
    before = slider.locator("xpath=..").locator(".before").get_attribute("src")
    page.get_by_role("radio", name="Pixels").click()
    page.wait_for_function(
        "([name, old]) => { for (const host of document.querySelectorAll('*')) { const image = "
        "host.shadowRoot?.querySelector('.before'); if (image) return image.src !== old; } }",
        arg=[DIVIDER, before],
    )
    assert slider.input_value() == "0"
    assert page.get_by_text("200%").count() == 1


def test_side_by_side_and_difference_show_images(visit, base, kid):
    page = visit(base)
    upload(page, kid)
    enhance(page)
    divider(page)
    page.get_by_role("radio", name="Side by side").click()
    page.get_by_alt_text("Enhanced, kid.png").wait_for()
    page.get_by_role("radio", name="Difference").click()
    page.get_by_alt_text("Difference to the input, kid.png").wait_for()


def test_a_phone_in_dark_mode_by_touch(visit, base, kid):
    page = visit(
        base,
        viewport={"width": 390, "height": 844},
        device_scale_factor=2,
        is_mobile=True,
        has_touch=True,
        color_scheme="dark",
    )
    upload(page, kid)
    enhance(page)
    slider = divider(page)
    box = slider.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    page.touchscreen.tap(box["x"] + box["width"] * 0.3, box["y"] + 40)
    assert abs(float(slider.input_value()) - 30) <= 3
    assert page.evaluate("document.documentElement.scrollWidth <= 390")


def test_a_pasted_image_is_taken(visit, base, kid):
    page = visit(base)
    page.get_by_text("Or press Ctrl+V to paste an image.").wait_for()
    # The page has run before.
    for name in ("Face 1", "Face 1"):
        page.get_by_role("button", name=name).click()
        page.wait_for_timeout(500)
    page.evaluate(
        """async (bytes) => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(bytes)], "clip.png", { type: "image/png" }));
          document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data }));
        }""",
        list(kid.read_bytes()),
    )
    page.get_by_text("clip.png: 96 x 96").wait_for()
    page.wait_for_timeout(500)
    page.get_by_role("button", name="Enhance 1 image").wait_for()
    page.get_by_role("button", name="Remove clip.png").click()
    page.get_by_text("Drop one or more face images here to start").wait_for()


def test_a_reload_that_would_lose_results_is_asked_about_and_no_other(visit, base, kid):
    page, asked = visit(base), []

    def answer(dialog):
        asked.append(dialog.type)
        dialog.dismiss()

    def reload():
        # A question that is dismissed leaves the page as it is, and Playwright would wait for one.
        page.evaluate("setTimeout(() => location.reload())")
        page.wait_for_timeout(1000)
        for _ in range(100):
            if asked:
                return
            page.wait_for_timeout(100)

    page.on("dialog", answer)
    upload(page, kid)
    page.get_by_text("kid.png: 96 x 96").wait_for()
    enhance(page)
    slider = divider(page)
    slider.focus()
    page.keyboard.press("Home")
    reload()
    assert asked == ["beforeunload"]
    assert slider.input_value() == "0"
    download(page)
    page.wait_for_timeout(1000)
    assert slider.input_value() == "0"
    reload()
    page.get_by_text("Drop one or more face images here to start").wait_for()
    assert asked == ["beforeunload"]


def test_the_camera_takes_a_selfie(visit, base):
    page = visit(base)
    page.get_by_text("Take a selfie with the camera").click()
    # Streamlit's button can be pressed before the camera's first frame, and does nothing then.
    page.wait_for_function("document.querySelector('video')?.videoHeight > 0")
    page.get_by_role("button", name="Take photo").click()
    page.get_by_text("selfie.jpg").first.wait_for()


def test_a_wrong_file_among_good_ones_is_named(visit, base, tmp_path, kid):
    (tmp_path / "evil.png").write_bytes(b"<svg onload='alert(1)'/>")
    page = visit(base)
    upload(page, kid, tmp_path / "evil.png", face(tmp_path / "two.png", 20))
    page.get_by_text("was not enhanced. It is not a JPEG, PNG or WebP image.").wait_for()
    enhance(page, 2)
    page.get_by_text("2 done, 0 not enhanced").wait_for()
    data, _ = download(page, "Download all (ZIP)")
    assert zipfile.ZipFile(io.BytesIO(data)).namelist() == ["01_kid_512.png", "02_two_512.png"]


def test_cancel_in_a_batch_of_eight_keeps_what_is_done(visit, base, tmp_path):
    page = visit(base, "/?size=2048+px")
    # Large images: small ones are done before anybody could press Cancel.
    upload(page, *(face(tmp_path / f"{n}.png", n, size=1000) for n in range(8)))
    enhance(page, 8)
    page.get_by_text(re.compile("[3-7] of 8: ")).wait_for()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("of 8 images are ready").wait_for()
    divider(page)
    done = page.get_by_role("radio").filter(has_text=".png").count()
    assert 2 <= done < 8
    page.get_by_role("button", name="Cancel").wait_for(state="detached")


def test_five_visitors_at_once_each_see_their_own(visit, base, tmp_path):
    pages = [visit(base) for _ in range(5)]
    for number, page in enumerate(pages):
        upload(page, face(tmp_path / f"visitor{number}.png", 20 * number))
    for page in pages:
        enhance(page)
    seen = set()
    for number, page in enumerate(pages):
        divider(page)
        data, name = download(page)
        assert name == f"visitor{number}_512.png"
        seen.add(data)
        others = [f"visitor{other}.png" for other in range(5) if other != number]
        assert not any(other in page.content() for other in others)
    assert len(seen) == 5


def test_two_models_are_compared_at_one_zoom(visit, base):
    page = visit(base, view="Compare models")
    slider = divider(page)
    page.get_by_test_id("stDataFrame").wait_for()
    slider.focus()
    page.keyboard.press("+")
    page.get_by_role("combobox", name="Right").click()
    page.get_by_role("option", name="facesr v2").click()
    page.get_by_text("facesr v2").first.wait_for()
    assert page.get_by_text("200%").count() == 1


def test_an_alias_that_moves_is_followed_while_the_page_is_open(visit, base, project, kid):
    page = visit(base)
    page.get_by_text("facesr v1 · champion").first.wait_for()
    served.make_champion(project, 2)
    try:
        page.get_by_text("facesr v2 · champion").first.wait_for()
        upload(page, kid)
        enhance(page)
        divider(page)
        assert b"facesr/2 (" in download(page)[0]
    finally:
        served.make_champion(project, 1)


def test_a_registry_that_is_down_leaves_a_page_that_works(visit, tmp_path, kid):
    with served.serve(tmp_path, MLFLOW_TRACKING_URI="http://127.0.0.1:9") as (address, _):
        page = visit(address)
        page.get_by_text("The model registry does not answer").first.wait_for()
        upload(page, kid)
        enhance(page)
        divider(page)
        page.get_by_text("The model registry does not answer. Using").wait_for()
        # Before the server goes, which it would complain of.
        page.close()


def test_an_upload_without_the_visitors_token_is_refused(base):
    request = urllib.request.Request(
        f"{base}/_stcore/upload_file/nobody/nothing", data=b"x", method="PUT"
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    assert caught.value.code == 403
    caught.value.close()


@pytest.mark.parametrize("path", ["/", "/api/v1/model", "/_stcore/stream"])
def test_a_name_that_is_not_ours_leads_nowhere(base, path):
    host = base.removeprefix("http://")
    assert status(base + path, host) != 400
    assert status(base + path, host.replace("127.0.0.1", "rebound.example")) == 400


def status(address, host):
    try:
        with urllib.request.urlopen(
            urllib.request.Request(address, headers={"Host": host}), timeout=60
        ) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_the_api_answers_beside_the_page(base, kid):
    request = urllib.request.Request(
        f"{base}/api/v1/enhance", kid.read_bytes(), {"Content-Type": "image/png"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert Image.open(io.BytesIO(answer.read())).size == (512, 512)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", ["", "Compare models", "Results", "About"])
def test_no_page_has_a_serious_accessibility_fault(visit, base, kid, view, scheme):
    page = visit(base, view=view, color_scheme=scheme)
    if not view:
        upload(page, kid)
        enhance(page)
        divider(page)
    page.wait_for_timeout(3000)
    assert serious_faults(page) == []


def serious_faults(page):
    # Charts name themselves by their label; Vega's groups inside have none.
    found = Axe().run(page, {"exclude": [".vega-embed"]}).response
    return [
        {
            "rule": fault["id"],
            "impact": fault["impact"],
            "where": [node["target"] for node in fault["nodes"]][:5],
            "what": fault["nodes"][0]["failureSummary"][:300],
        }
        for fault in found["violations"]
        if fault["impact"] in ("serious", "critical")
    ]


def test_the_accessibility_check_finds_an_image_without_words_and_pale_text(visit, base):
    page = visit(base)
    page.evaluate(
        """() => document.querySelector("h1").insertAdjacentHTML("afterend",
            '<img src="data:,"><p style="color: #ccc; background: #fff">pale</p>')"""
    )
    assert {fault["rule"] for fault in serious_faults(page)} == {"image-alt", "color-contrast"}

"""The page that enhances small face images."""

import time
from functools import partial

import streamlit as st

import intake
import service
import serving
from components import examples, result
from components.download import download_button
from components.leaving import ask_before_leaving
from components.paste import paste, pasted
from downloads import Download
from session import InputImage, Result, work

LIMITS = (
    f"JPEG, PNG or WebP, up to {intake.MAX_BYTES // intake.MEGABYTE} MB and "
    f"{intake.MAX_PIXELS // 1_000_000} megapixels each, {intake.MAX_FILES} at a time."
)
# HEIC and similar files are accepted to say what to do about them.
TYPES = ["jpg", "jpeg", "png", "webp", "heic", "heif", "avif"]
# What the networks were trained for; beyond it they have little to work with.
TRAINED_FACTOR = 8
FACES: dict[service.Faces, str] = {"off": "Everything", "also": "Also faces", "only": "Faces only"}


def main() -> None:
    """Draw the page."""
    st.title("Enhance a face image")
    st.write(f"Makes a small face image larger and sharper. {LIMITS}")
    given = ask_images()
    settings, blend, file_format = ask_settings()
    waiting = list_images(given, settings.size)
    ask_start(waiting, settings)
    progress = st.container()
    show_failures()
    show_results(blend, file_format)
    if not given and not work().results:
        st.info("Drop one or more face images here to start, or try an example.")
    if given:
        # While the visitor still looks at the settings.
        serving.shared().warm()
    if work().queue:
        with progress:
            run_queue()


def ask_images() -> list[InputImage]:
    """Return all images from the visitor, in the order of the page."""
    st.subheader("1 Images")
    files = st.file_uploader(
        "Images",
        type=TYPES,
        accept_multiple_files=True,
        max_upload_size=intake.MAX_BYTES // intake.MEGABYTE,
        key=f"files_{work().uploader}",
        label_visibility="collapsed",
    )
    paste(key="paste", on_image=take_pasted)
    with st.container(horizontal=True):
        for position, image in enumerate(work().extra):
            st.button(
                f"Remove {intake.plain(image.name)}",
                key=f"unpaste_{position}",
                on_click=work().extra.remove,
                args=(image,),
            )
    left, right = st.columns(2)
    with left:
        shot = None
        if st.toggle("Take a selfie with the camera", key="camera_on"):
            st.caption("The camera works only over https or on the server itself.")
            shot = st.camera_input("Selfie", resolution="720p", key="camera")
    with right:
        chosen = st.pills(
            "Try an example",
            list(examples.NAMES),
            selection_mode="multi",
            key=f"examples_{work().uploader}",
        )
        st.caption(examples.ATTRIBUTION)
    given = [InputImage(file.name, file.getvalue()) for file in files]
    given += work().extra
    if shot is not None:
        given.append(InputImage("selfie.jpg", shot.getvalue()))
    given += [examples.load(name) for name in chosen]
    if len(given) > intake.MAX_FILES:
        st.warning(f"{intake.MAX_FILES} images at a time. The first {intake.MAX_FILES} are used.")
    return given[: intake.MAX_FILES]


def take_pasted() -> None:
    """Add the image in the clipboard."""
    image = pasted("paste")
    if image is not None:
        work().extra.append(image)


def ask_settings() -> tuple[service.Settings, float, service.Format]:
    """Ask for the settings, the share of the model's image, and the format."""
    st.subheader("2 Settings")
    left, right = st.columns(2)
    size = left.segmented_control(
        "Size of the longer side",
        list(service.SIZES),
        default=service.SIZES[0],
        required=True,
        key="size",
        format_func=lambda side: f"{side} px",
        bind="query-params",
    )
    catalogue = serving.shared().peek()
    options = models(catalogue)
    model = right.selectbox(
        "Model",
        list(options),
        format_func=options.__getitem__,
        key="model",
        persist_state="session",
    )
    strength = 1.0
    if model != serving.BICUBIC and has_strength(model, catalogue):
        strength = left.slider(
            "Strength: 0 % faithful, 100 % crisp", 0, 100, 100, 10, format="%d %%", key="strength"
        )
        strength = strength / 100
    faces: service.Faces = "off"
    if options[str(model)] != serving.NO_MODEL:
        faces = right.segmented_control(
            "What is enhanced",
            list(FACES),
            default="off",
            required=True,
            key="part",
            format_func=FACES.__getitem__,
            help="For photographs of people. *Also faces*: faces are looked for and restored once "
            "more on their own. *Faces only*: the rest is enlarged with bicubic interpolation.",
        )
    blend = right.slider(
        "Blend with the original",
        0,
        100,
        100,
        5,
        format="%d %%",
        key="blend",
        help="100 % shows the model's image, 0 % the bicubic enlargement. Needs no new run.",
    )
    file_format = left.segmented_control(
        "Format",
        list(service.FORMATS),
        default="png",
        required=True,
        key="format",
        format_func=lambda name: name.upper() if name != "webp" else "WebP",
    )
    if catalogue is not None and catalogue.state == "unreachable":
        st.warning(f"**The model registry does not answer.** {catalogue.message}")
        st.button("Try again", on_click=serving.shared().retry, key="retry")
    if catalogue is not None and (note := serving.stand_in_note(catalogue)):
        st.info(note.markdown)
    return (
        service.Settings(size=int(size), model=str(model), strength=strength, faces=faces),
        blend / 100,
        file_format,
    )


def models(catalogue: serving.Catalogue | None) -> dict[str, str]:
    """Return the selectable models by reference, the default first."""
    bicubic = serving.NO_MODEL
    if catalogue is None:
        return {serving.CHAMPION: "facesr (the champion)", serving.BICUBIC: bicubic}
    champion = catalogue.champion
    options = {serving.CHAMPION: serving.name(champion) if champion else serving.stand_in_label()}
    options |= {f"facesr/{v.number}": serving.name(v) for v in catalogue.versions if v != champion}
    if bicubic not in options.values():
        options[serving.BICUBIC] = bicubic
    return options


def has_strength(model: str | None, catalogue: serving.Catalogue | None) -> bool:
    """Return whether the strength has an effect, which is known after loading."""
    number = int(str(model).partition("/")[2] or 0)
    if model in (None, serving.CHAMPION):
        champion = catalogue.champion if catalogue else None
        number = champion.number if champion else 0
    fixed = serving.shared().fixed if model != serving.BICUBIC else None
    loaded = fixed or serving.shared().loaded(number)
    return loaded is not None and loaded.enhancer.has_strength


def list_images(given: list[InputImage], size: int) -> list[InputImage]:
    """Show the plan for each image; return those that can be enhanced."""
    good, lines, beyond = [], [], False
    for image in given:
        try:
            header = intake.check(image.data)
            width, height = service.plan(header, size)
        except intake.RefusedError as refusal:
            st.error(f"**{intake.plain(image.name)}** was not enhanced. {refusal}")
            continue
        good.append(image)
        factor = width / header.width
        beyond = beyond or factor > TRAINED_FACTOR
        lines.append(
            f"{intake.plain(image.name)}: {header.width} x {header.height} → {width} x {height} "
            f"px ({factor:.1f}x larger). {header.note}".removesuffix(". ")
        )
    if lines:
        st.caption("  \n".join(lines))
    if beyond:
        st.caption(
            f"Above x{TRAINED_FACTOR} the model has little to work with; expect invented detail."
        )
    return good


def ask_start(given: list[InputImage], settings: service.Settings) -> None:
    """Draw the buttons that start and clear."""

    def start() -> None:
        if not work().start(given, settings):
            st.toast("These images are enhanced with these settings already.")

    labels = {0: "Enhance", 1: "Enhance 1 image"}
    with st.container(horizontal=True):
        st.button(
            labels.get(len(given), f"Enhance {len(given)} images"),
            type="primary",
            key="go",
            shortcut="E",
            disabled=not given,
            help="Add an image first." if not given else None,
            on_click=start,
        )
        st.button(
            "Clear",
            key="clear",
            on_click=work().clear,
            disabled=not (given or work().results or work().failures),
        )


def run_queue() -> None:
    """Enhance the first image, which a click can interrupt, then run the page for the next."""
    mine = work()
    job = mine.next()
    if job is None:
        return
    name = intake.plain(job.image.name)
    each = mine.seconds / mine.finished if mine.finished else 0.0
    left = each * len(mine.queue)
    pace = f", {each:.1f} s each, about {left:.0f} s left" if each else ""
    count = f"{mine.finished + 1} of {mine.total}: {name}{pace}"
    bar = st.progress(mine.finished / mine.total, text=count)
    st.button("Cancel", key="cancel", on_click=cancel)
    if not serving.shared().is_warm:
        bar.progress(mine.finished / mine.total, text=f"{count}. Loading the model ...")

    def on_queue(ahead: int) -> None:
        people = "1 person is" if ahead == 1 else f"{ahead} people are"
        bar.progress(mine.finished / mine.total, text=f"{count}. {people} ahead of you.")

    def on_progress(tiles: int, of: int) -> None:
        bar.progress(min(1.0, (mine.finished + tiles / of) / mine.total), text=count)

    started = time.monotonic()
    try:
        outcome: service.Enhanced | str = service.enhance(
            job.image.data, job.settings, on_queue=on_queue, on_progress=on_progress
        )
    except intake.RefusedError as refusal:
        outcome = str(refusal)
    mine.done(job, outcome, started)
    if not mine.queue and mine.dropped:
        st.toast(f"The oldest {mine.dropped} results were dropped to save memory.")
    st.rerun()


def cancel() -> None:
    """Stop the batch; finished results stay."""
    mine = work()
    mine.cancel()
    st.toast(f"Stopped. {mine.finished} of {mine.total} images are ready.")


def show_failures() -> None:
    """List the failures of the last batch with their reasons."""
    for failure in work().failures:
        st.error(f"**{intake.plain(failure.name)}** was not enhanced. {failure.sentence}")


@st.fragment
def show_results(blend: float, file_format: service.Format) -> None:
    """Draw the results, in a fragment of the page that runs alone."""
    results = work().results
    if not results:
        ask_before_leaving(key="leaving", ask=work().is_unsaved)
        return
    st.subheader("3 Results")
    position = 0
    if len(results) > 1:
        # Newest first; the newest is shown until another is chosen.
        chosen = st.pills(
            "Image",
            range(len(results)),
            format_func=lambda index: f"{index + 1} {intake.plain(results[index].name)}",
            default=0,
            required=True,
            key=f"shown_{len(results)}",
        )
        position = chosen or 0
    ask_before_leaving(key="leaving", ask=work().is_unsaved)
    others = any(not one.is_saved for one in results if one is not results[position])
    with st.container(border=True):
        result.show(
            results[position],
            blend=blend,
            file_format=file_format,
            saves_all=not (others or work().queue),
        )
    if len(results) > 1:
        with st.container(horizontal=True, vertical_alignment="center"):
            # Made outside this visitor's run, so it cannot look the results up itself.
            make = partial(all_as_zip, list(results), blend, file_format)
            download_button(
                "Download all (ZIP)",
                Download("enhanced.zip", "application/zip", make),
                key="zip",
                saves_all=not work().queue,
            )
            failed = len(work().failures)
            st.caption(f"{len(results)} done, {failed} not enhanced")


def all_as_zip(results: list[Result], blend: float, file_format: service.Format) -> bytes:
    """Pack every result under a name of its own."""
    for saved in results:
        saved.is_saved = True
    return service.as_zip(
        [
            (
                service.file_name(r.name, r.enhanced, file_format, number),
                service.encode(r.enhanced, file_format, blend=blend),
            )
            for number, r in enumerate(reversed(results), start=1)
        ]
    )


main()

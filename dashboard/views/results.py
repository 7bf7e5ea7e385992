"""Quality of the model and its history."""

import math
from functools import partial
from typing import Any

import streamlit as st
from PIL import Image

import evaluated
import intake
import reading
import serving
from facesr import names, paths, stats, tracking
from facesr.data.groups import FEW_PEOPLE
from facesr.errors import RegistryError

# Metric, label and format.
HEADLINES = (
    ("psnr", "PSNR", "{:.2f} dB"),
    ("ssim", "SSIM", "{:.3f}"),
    ("lpips", "LPIPS", "{:.3f}"),
    ("identity", "identity", "{:.4f}"),
)
# The gain stands beside what it is the gain of.
COLUMNS = {"psnr": names.LABELS["psnr"], "psnr_gain": "gain over bicubic, dB ↑", **names.LABELS}
EXTREMES = 5
# Of each end, where the images are shown.
SHOWN = 3


def main() -> None:
    """Draw the page."""
    st.title("Results")
    with st.spinner("Asking the model registry ..."):
        catalogue = serving.shared().catalogue()
    measured = reading.scores()
    if catalogue.state == "unreachable":
        st.warning(catalogue.message)
    st.button("Refresh", on_click=refresh)
    if not (measured or reading.sheets() or catalogue.versions):
        st.info("No training runs yet. Run `dvc repro` to make the first one.")
        st.stop()
    show_champion(catalogue)
    show_history(catalogue)
    if measured:
        show_tables(measured)
        show_extremes(measured)
    show_curves()
    show_sheets()
    show_runs()


def refresh() -> None:
    """Ask the registry again."""
    serving.shared().retry()
    runs.clear()


def show_champion(catalogue: serving.Catalogue) -> None:
    """Draw the champion, else the challenger, against bicubic and the version before it."""
    if note := serving.stand_in_note(catalogue):
        st.info(note.markdown)
    version = catalogue.champion or catalogue.newest
    if version is None:
        return
    st.subheader(f"facesr v{version.number} against bicubic")
    shown = [(faces, *headline) for faces in paths.EVALUATION_SETS for headline in HEADLINES]
    places = [column for _ in paths.EVALUATION_SETS for column in st.columns(len(HEADLINES))]
    for column, (faces, metric, name, form) in zip(places, shown, strict=True):
        label = f"{name}, {faces}"
        own = serving.quality(version, metric, faces=faces)
        gain = serving.quality(version, f"{metric}_gain", faces=faces)
        if own is None:
            column.metric(label, "Not available." if metric in names.LEARNED else "Not measured.")
            continue
        delta = None if gain is None else f"{form.replace(':', ':+').format(gain)} to bicubic"
        column.metric(label, form.format(own), delta)
    earlier = [v for v in catalogue.versions if v.number < version.number]
    if not earlier:
        st.caption("There is no earlier version to compare it with.")
    else:
        own, before = serving.quality(version), serving.quality(earlier[0])
        if own is not None and before is not None:
            same = version.tags.get("evaluation.key") == earlier[0].tags.get("evaluation.key")
            warning = "" if same else " (measured on other images: not comparable)"
            st.caption(
                f"v{earlier[0].number} before it: {before:.2f} dB, a change of "
                f"{own - before:+.2f} dB{warning}."
            )
    st.link_button("Open in MLflow", version.page)
    if version.page.startswith(tracking.LOCAL_PAGES):
        st.caption("`make mlflow` starts the pages that the link leads to.")


def show_history(catalogue: serving.Catalogue) -> None:
    """Draw quality against time."""
    rows = [
        {
            "version": f"v{version.number}",
            # Charts would warn of the time zone.
            "registered": version.created.replace(tzinfo=None),
            "gain over bicubic, dB": gain,
        }
        for version in reversed(catalogue.versions)
        if (gain := serving.quality(version, "psnr_gain")) is not None
    ]
    if len(rows) < 2:
        return
    st.subheader("Quality against time")
    st.line_chart(
        rows,
        x="registered",
        y="gain over bicubic, dB",
        alt="Gain of each version over bicubic against the time of its registration",
    )
    st.dataframe(rows, hide_index=True)


def show_tables(scores: stats.Table) -> None:
    """Draw the evaluation's tables, bicubic first."""
    st.subheader("Measured on test images")
    left, right = st.columns(2)
    sets = list(dict.fromkeys(name for name, _, _ in scores))
    faces = left.selectbox("Images", sets, key="set", format_func=str.capitalize)
    sizes = list(dict.fromkeys(size for name, size, _ in scores if name == faces))
    size = right.segmented_control(
        "Size",
        sizes,
        default=sizes[-1],
        required=True,
        key=f"table_size_{faces}",
        format_func=str.capitalize,
    )
    methods = {row[-1]: columns for row, columns in scores.items() if row[:-1] == (faces, size)}
    count = max(len(values) for columns in methods.values() for values in columns.values())
    st.caption(f"{count} images, means.")
    means = {method: method_means(columns, methods) for method, columns in methods.items()}
    measured_here = {metric for row in means.values() for metric in row}
    rows = [
        {
            "method": method,
            **{
                label: row.get(metric) if metric in measured_here else stats.NOT_AVAILABLE
                for metric, label in COLUMNS.items()
                if metric in measured_here or metric in names.LEARNED
            },
        }
        for method, row in means.items()
    ]
    st.dataframe(rows, hide_index=True, alt=f"Metrics of each method, {faces}, {size}")
    show_groups(faces)


def method_means(columns: stats.Columns, methods: dict[str, stats.Columns]) -> dict[str, float]:
    """Return the finite means of a method, with its gain in PSNR over bicubic."""
    bicubic = methods.get(names.BICUBIC, {}).get("psnr", {})
    gains = stats.differences(columns.get("psnr", {}), bicubic)
    means = {
        metric: stats.summarise(values.values()).mean
        for metric, values in {**columns, "psnr_gain": gains}.items()
    }
    return {metric: mean for metric, mean in means.items() if math.isfinite(mean)}


def show_groups(faces: str) -> None:
    """Draw the gain on each group of people, and its difference to the others."""
    found = [row for row in reading.groups() if row.get("set") == faces]
    metrics = [
        name for name in ("psnr", *names.LEARNED) if name in {row.get("metric") for row in found}
    ]
    if not metrics:
        st.caption("By group of people: Not measured.")
        return
    st.write("By group of people, at full size")
    metric = st.segmented_control(
        "Metric",
        metrics,
        default=metrics[0],
        required=True,
        key=f"group_metric_{faces}",
        format_func=names.LABELS.__getitem__,
    )
    unit = ", dB" if metric == "psnr" else ""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for row in found:
        if row["metric"] != metric:
            continue
        cells = {name: reading.number(cell) for name, cell in row.items()}
        own = rows.setdefault(
            (row["group"], row["value"]),
            {"group": f"{row['group']} = {row['value']}", "people": cells["people"]},
        )
        if row["method"] == serving.BICUBIC:
            own[f"bicubic{unit}"] = cells["mean"]
        if row["method"] == serving.METHOD:
            own[f"model{unit}"] = cells["mean"]
            own[f"gain{unit}"] = cells["gain"]
            own["± standard error"] = cells["gain_standard_error"]
            own[f"difference to the others{unit}"] = cells["difference"]
            own["its standard error"] = cells["difference_standard_error"]
    st.caption(
        "A difference below two standard errors can be chance, and so can the result of a group "
        f"of fewer than {FEW_PEOPLE} people."
    )
    st.dataframe(
        list(rows.values()), hide_index=True, alt=f"{names.LABELS[metric]} by group, {faces}"
    )


def show_extremes(scores: stats.Table) -> None:
    """Draw the images with the largest and the smallest gains."""
    gains = []
    for faces, *rows in stats.served_rows(scores):
        own, bicubic = (row.get("psnr", {}) for row in rows)
        gains += [
            {
                "image": stem,
                "set": faces,
                "model, dB": own[stem],
                "bicubic, dB": bicubic[stem],
                "gain, dB": round(gain, 3),
            }
            for stem, gain in stats.differences(own, bicubic).items()
        ]
    gains.sort(key=lambda row: float(str(row["gain, dB"])))
    if not gains:
        return
    st.subheader("Worst and best images")
    left, right = st.columns(2)
    left.write("Where the model helps least")
    left.dataframe(gains[:EXTREMES], hide_index=True, alt="Images with the smallest gain")
    right.write("Where it helps most")
    right.dataframe(
        gains[: -EXTREMES - 1 : -1], hide_index=True, alt="Images with the largest gain"
    )
    if st.toggle("Show them", key="show_extremes"):
        shown = {row["image"]: row for row in (*gains[:SHOWN], *gains[: -SHOWN - 1 : -1])}
        for one in shown.values():
            show_measured(str(one["set"]), str(one["image"]), float(str(one["gain, dB"])))


def show_measured(faces: str, stem: str, gain: float) -> None:
    """Draw one image: enlarged by bicubic, by the model, and the original."""
    heading = f"**{intake.plain(stem)}**, {faces}, {gain:+.2f} dB to bicubic"
    pair = evaluated.pair(faces, stem)
    if pair is None:
        st.markdown(f"{heading}: not shown, it is not here or its licence does not allow it.")
        return
    with st.spinner("Enhancing ..."):
        made = {
            model: evaluated.enhanced(pair.small, pair.side, model)
            for model in (serving.BICUBIC, serving.CHAMPION)
        }
    st.markdown(heading)
    columns = st.columns(len(made) + 1)
    for column, (model, outcome) in zip(columns, made.items(), strict=False):
        if isinstance(outcome, str):
            column.write(outcome)
            continue
        label = "Bicubic" if model == serving.BICUBIC else f"{outcome.label}, today"
        column.image(outcome.png, caption=label, width="stretch", alt=f"{label}, {stem}")
    columns[-1].image(pair.original, caption="Original", width="stretch", alt=f"Original, {stem}")


def show_curves() -> None:
    """Draw training curves."""
    stages = [stage for stage in reading.STAGES if reading.curves(stage)]
    if not stages:
        return
    st.subheader("Training curves")
    stage = st.segmented_control("Stage", stages, default=stages[0], required=True, key="stage")
    rows = reading.curves(stage)
    names = [name for name in rows[0] if name != "step"]
    st.line_chart(rows, x="step", y=names, alt=f"Curves of {stage}: {', '.join(names)}")


def show_sheets() -> None:
    """Draw the stages' image grids."""
    sheets = reading.sheets()
    if not sheets:
        return
    st.subheader("Sample sheets")
    names = list(sheets)
    preferred = next((n for n in names if n.startswith("evaluate/")), names[0])
    name = st.selectbox("Sheet", names, index=names.index(preferred), key="sheet")
    try:
        with Image.open(sheets[name]) as sheet:
            st.image(sheet, alt=f"Sample sheet {name}", width="stretch")
    except OSError:
        st.warning(f"The sheet {intake.plain(name)} is damaged. Run: `dvc repro -f evaluate`")


@st.cache_data(ttl=30, show_spinner="Asking MLflow ...")
def runs(root: str) -> list[tracking.ListedRun]:
    """Return the parent runs of a project; MLflow is asked twice a minute at most."""
    return tracking.list_runs(serving.shared().root)


def show_runs() -> None:
    """Draw every finished state of the pipeline."""
    st.subheader("Runs")
    try:
        listed = runs(str(serving.shared().root))
    except RegistryError as error:
        st.warning(str(error))
        return
    if not listed:
        st.info("No training runs yet. Run `dvc repro` to make the first one.")
        return
    key = partial(names.headline_key, names.FACES)
    rows = [
        {
            "started": f"{run.started:%Y-%m-%d %H:%M}",
            "name": run.name,
            "profile": run.tags.get("profile"),
            "revision": run.tags.get("git.rev", "")[:8],
            "test data": run.tags.get("dvc.md5.data/pairs/test", "")[:8],
            "version": run.tags.get("model.version"),
            "PSNR, dB": run.metrics.get(key("psnr")),
            "gain, dB": run.metrics.get(key("psnr_gain")),
            **{metric: run.metrics.get(key(metric)) for metric in names.LEARNED},
            "MLflow": run.page,
        }
        for run in listed
    ]
    chosen: Any = st.dataframe(
        rows,
        hide_index=True,
        key="runs",
        on_select="rerun",
        selection_mode="single-row",
        column_config={"MLflow": st.column_config.LinkColumn(display_text="open")},
        alt="Runs of the pipeline, the newest first",
    )
    for index in chosen.selection.rows:
        run = listed[index]
        st.write(f"{run.name}, {run.started:%Y-%m-%d %H:%M}: parameters unlike its profile's")
        st.dataframe(
            [{"parameter": name, "value": value} for name, value in sorted(run.params.items())],
            hide_index=True,
        )


main()

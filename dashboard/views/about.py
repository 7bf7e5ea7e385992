"""Purpose, limits and data protection."""

import re

import streamlit as st

import intake
import service
import serving
from components import examples

# Puts the card's headings below this page's.
BELOW = "###"

st.title("About")

st.subheader("What it does")
st.write(
    "Small face images become larger and sharper. A network that was trained on pairs of small "
    "and large faces adds what is likely; bicubic interpolation, beside every result, adds nothing."
)

st.subheader("What it must not be used for")
st.markdown(
    """
- **Not for identification**, evidence, surveillance or medicine. Details are estimated by a model
  and can differ from the real face: many large faces fit one small image, and the network shows
  one of them.
- **Bias.** A network gives back what its training images hold. In 2020 PULSE turned a small
  image of Barack Obama into a white man. *Results* shows how the quality differs between groups,
  where the test images name any.
- Skin may come out smoother than it is, and bright skin brighter. The strength towards *faithful*,
  or the blend with the original, takes that back.
"""
)

st.subheader("The model that serves")
catalogue = serving.shared().peek(wait_seconds=10)
champion = catalogue.champion if catalogue else None
if catalogue is None or champion is None:
    if note := serving.stand_in_note(catalogue):
        st.info(note.markdown)
    elif catalogue and catalogue.state == "unreachable":
        st.warning(f"**The model registry does not answer.** {catalogue.message}")
    else:
        st.markdown(f"**{serving.stand_in_label()}**")
    st.markdown(
        "A model of your own, from images to registry: `make repro`, on two processor "
        "cores in ten minutes."
    )
else:
    card = serving.shared().card(champion.number)
    if card:
        st.markdown(re.sub(r"(?m)^(#{1,3}) ", rf"{BELOW}\1 ", card))
    with st.expander("Where it comes from", expanded=not card):
        st.dataframe(
            [
                {"what": "version", "value": f"facesr v{champion.number}"},
                {"what": "registered", "value": f"{champion.created:%Y-%m-%d %H:%M} UTC"},
                *({"what": name, "value": value} for name, value in sorted(champion.tags.items())),
            ],
            hide_index=True,
            alt="The version's tags",
        )
    st.link_button("Training run in MLflow", champion.page)

st.subheader("Limits")
st.markdown(
    f"""
- JPEG, PNG or WebP, recognised by content; up to {intake.MAX_BYTES // intake.MEGABYTE} MB,
  {intake.MAX_PIXELS // 1_000_000} megapixels, {intake.MIN_SIDE} to {intake.MAX_SIDE} pixels a side,
  {intake.MAX_FILES} at a time.
- Results of {", ".join(map(str, service.SIZES))} pixels on the longer side; proportions stay.
- One image is worked on at a time; others wait in the order in which they came.
"""
)

st.subheader("Privacy")
st.write(
    "Images stay in the server's memory and are deleted when you close the page. None is "
    "logged, stored, or sent elsewhere. Results carry no camera data and no place; they carry the "
    "model's name and settings. Large uploads pass through the system's folder for temporary "
    "files while they arrive."
)

st.subheader("Licences")
st.write(
    "The code is under the Apache License 2.0. What a registered model was trained on, and under "
    "which licence, stands in its card or tags above."
)
st.write(examples.ATTRIBUTION)

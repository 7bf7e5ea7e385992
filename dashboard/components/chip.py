"""Foot of the sidebar: the model that serves, and its measured quality."""

import streamlit as st

import serving


def model_chip() -> None:
    """Draw the model's name and quality; update them while the page is open."""
    with st.container(border=True):
        st.markdown("**Model**")
        known = serving.shared().peek()
        # A fragment of its own: the page itself is not run again for it.
        st.fragment(_chip, run_every=serving.MAX_AGE if known else 1)()


def _chip() -> None:
    catalogue = serving.shared().peek()
    seen = None
    if catalogue:
        seen = (catalogue.state, catalogue.champion.number if catalogue.champion else None)
    if st.session_state.setdefault("champion_seen", seen) != seen:
        st.session_state["champion_seen"] = seen
        # The rest of the page names the model too.
        st.rerun(scope="app")
    if catalogue is None:
        st.write("Looking for the model ...")
        return
    champion = catalogue.champion
    if catalogue.state == "unreachable":
        st.write("The model registry does not answer.")
        return
    if champion is None:
        st.write(serving.stand_in_label())
        if catalogue.newest:
            st.caption(f"No champion. facesr v{catalogue.newest.number} does not serve.")
        return
    st.write(f"facesr v{champion.number} · champion")
    model, bicubic = serving.quality(champion), serving.bicubic_psnr(champion)
    if model is not None and bicubic is not None:
        st.caption(f"Test PSNR {model:.2f} dB (bicubic {bicubic:.2f})")
    loaded = serving.shared().loaded(champion.number)
    st.caption(
        f"{loaded.enhancer.device.type.upper()}, ready" if loaded else "Loads with the first image."
    )

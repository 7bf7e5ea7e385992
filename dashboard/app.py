"""Frame of the page: navigation, and the model that serves."""

import streamlit as st

from components.chip import model_chip

# Streamlit's own greys, and its accent on dark ground, are fainter than WCAG AA asks.
CONTRAST = """<style>
[data-testid="stCaptionContainer"] { opacity: 1; }
[data-testid="stCaptionContainer"] :is(p, li) { color: light-dark(#57534e, #d6d3d1); }
[data-selected="true"] p { color: light-dark(#3730a3, #c7d2fe); }
</style>"""

st.set_page_config(page_title="Face super-resolution", page_icon="🙂", layout="wide")
st.html(CONTRAST)
page = st.navigation(
    [
        st.Page("views/enhance.py", title="Enhance", default=True),
        st.Page("views/compare.py", title="Compare models", url_path="compare"),
        st.Page("views/results.py", title="Results", url_path="results"),
        st.Page("views/about.py", title="About", url_path="about"),
    ]
)
with st.sidebar:
    model_chip()
    st.caption("Images stay in the server's memory and are deleted when you close the page.")
page.run()

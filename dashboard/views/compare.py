"""Which of two models does better on this picture?"""

import streamlit as st

st.title("Compare models")

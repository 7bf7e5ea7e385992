"""How good is the model, and how did it become so?"""

import streamlit as st

st.title("Results")

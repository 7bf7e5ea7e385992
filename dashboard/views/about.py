"""What this is, what it must not be used for, what it knows about you."""

import streamlit as st

st.title("About")

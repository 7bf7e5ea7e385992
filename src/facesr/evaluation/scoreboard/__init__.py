"""The scoreboard: networks on fixed, stored inputs made from real photographs.

Inputs are made once, kept as PNG with a digest, and made again only when their definition changes,
so that every row of every later table was measured on the same pixels. Methods are compared image
by image.
"""

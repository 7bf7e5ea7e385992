"""Measurement: methods, scores, groups of images, and the scoreboard."""

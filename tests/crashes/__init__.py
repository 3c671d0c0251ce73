"""Killing a real gateway at an exact point of its code."""

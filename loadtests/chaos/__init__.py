"""Faults, and the checkers that judge what clients saw of them."""

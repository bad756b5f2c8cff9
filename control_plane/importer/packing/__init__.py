"""Writes checkpoint packages: weights in the order of a forward pass, beside their index.

`layout` decides what lies where (pure), `conversion` makes the bytes, `package_file` writes and
hashes them. What a package is, `infra/package_index.py` says.
"""

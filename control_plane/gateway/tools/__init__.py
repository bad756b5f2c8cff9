"""Functions that a model may ask its client to call: what is offered, and what it asks for.

`families` knows how models write a call; a `parser` finds calls in their text, a `grammar` makes
them write one, a `prompt` tells models of functions whose chat templates do not, and a `shape`
answers with calls as OpenAI does.
"""

"""Prompts of about a given length, each different, so that no cache flatters a figure."""

from __future__ import annotations

from random import Random

_WORDS = """
the of and to in is that it was for on are with they be at one have this from had by word but
what some we can out other were all there when up use your how said an each she which do their
time if will way about many then them write would like so these her long make thing see him two
has look more day could go come did number sound no most people my over know water than call
first who may down side been now find any new work part take get place made live where after
back little only round man year came show every good me give our under name very through just
form sentence great think say help low line differ turn cause much mean before move right boy
old too same tell does set three want air well also play small end put home read hand port large
spell add even land here must big high such follow act why ask men change went light kind off
need house picture try us again animal point mother world near build self earth father head
stand own page should country found answer school grow study still learn plant cover food sun
four between state keep eye never last let thought city tree
""".split()  # noqa: SIM905 - a page of quotes and commas would be no clearer
"""Common English words: about one token each for every tokenizer trained on English."""
_VOCABULARY = range(300, 40_000)
"""Ids of ordinary tokens in most byte-level tokenizers: past special tokens and bytes."""


def text(tokens: int, random: Random) -> str:
    """About `tokens` tokens of plain text; how many they are, the server's usage tells."""
    return " ".join(random.choices(_WORDS, k=max(1, tokens)))


def token_ids(tokens: int, random: Random) -> list[int]:
    """Exactly `tokens` token ids."""
    return random.choices(_VOCABULARY, k=max(1, tokens))

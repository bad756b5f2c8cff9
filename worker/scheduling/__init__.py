"""Who runs in the next step, and in which blocks of the KV cache. Pure: no torch, no clock."""

"""CPU kernels that numba compiles where they run: no compiler on the machine is needed.

`cpu.py` of an operation is written against these rooms: `toolchain` (is there a numba, where does
its work stay, with `old_kernels` until when), `team` (threads), `memory` (addresses and bfloat16),
`tile` (matrix products).
"""

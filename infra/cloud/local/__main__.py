"""`python -m infra.cloud.local`: the host daemon."""

from __future__ import annotations

import sys

from infra.cloud.local.daemon import main

sys.exit(main())

"""`python -m windlass.cli`: the command, where it is not on PATH."""

import sys

from windlass.cli import main

sys.exit(main())

"""`python -m host.cli`: the `pimloop` command where its script is not installed."""

import sys

from host.cli import main

sys.exit(main())

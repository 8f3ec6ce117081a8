"""`python -m pimloop.host.cli`: the `pimloop` command where its script is not installed."""

import sys

from pimloop.host.cli import main

sys.exit(main())

"""`python -m pimloop`: the command where its script is not on the path."""

import sys

from pimloop.host.cli import main

sys.exit(main())

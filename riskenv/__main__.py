"""`python -m riskenv` is the `riskenv` command."""

import subprocess
import sys
from importlib.util import find_spec

from riskenv.cli import main

if __name__ == "__main__":
    # `-m` puts the working directory first. In the root of a checkout that hides the installed
    # package behind the folder riskenv/, which is one room of four; `-P` leaves it out.
    if find_spec("riskenv.wrappers") is None and not sys.flags.safe_path:
        sys.exit(subprocess.call([sys.executable, "-P", "-m", "riskenv", *sys.argv[1:]]))
    main()

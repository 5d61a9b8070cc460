"""The command ``kcptun``: ``twistd -n --pidfile= kcptun`` with the rest of the line handed on.

In the foreground, logging to standard output.  Whoever wants a daemon, a pid file or another
reactor calls twistd.
"""

from __future__ import annotations

import sys

from twisted.internet.error import CannotListenError
from twisted.scripts import twistd

__all__ = ["main"]


def main() -> None:
    """Run the command line of this process.  Where that was wrong, or its address cannot be
    listened on, one line goes to standard error and the exit status is 1."""
    sys.argv[1:1] = ["--nodaemon", "--pidfile=", "kcptun"]
    try:
        twistd.run()
    except CannotListenError as error:
        print(f"kcptun: {error}", file=sys.__stderr__)  # sys.stderr goes to the log by now
        sys.exit(1)


if __name__ == "__main__":
    main()

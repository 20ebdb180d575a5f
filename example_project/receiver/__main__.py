"""``python -m example_project.receiver``: run a receiver until SIGTERM or Ctrl-C."""

import argparse
import contextlib
import json
import os
import sys

try:
    from example_project.receiver import server
except ModuleNotFoundError as error:
    sys.exit(f"The receiver verifies signatures with a package that is not installed: pip install {error.name}")


def main() -> None:
    """Listen, say where, and serve."""
    options = _options()
    log = os.open(options.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644) if options.log else sys.stdout.fileno()
    behaviour = server.Behaviour(
        answer=options.answer, delay=options.delay, secret=options.secret, record=options.record
    )
    try:
        listening = server.Server((options.host, options.port), behaviour, log)
    except OSError as error:
        sys.exit(f"The receiver cannot listen on {options.host}:{options.port}: {error.strerror}")
    with listening:
        port = listening.server_address[1]
        host = f"[{options.host}]" if ":" in options.host else options.host
        print(json.dumps({"url": f"http://{host}:{port}/", "port": port, "pid": os.getpid()}), flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            listening.serve_forever()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m example_project.receiver", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=8001, help="0 takes a free one (%(default)s)")
    parser.add_argument("--log", metavar="FILE", help="append records to this file instead of standard output")
    parser.add_argument("--secret", default="", metavar="whsec_…", help="verify with it; without, nothing is verified")
    parser.add_argument("--answer", type=int, default=200, metavar="STATUS", help="status code (%(default)s)")
    parser.add_argument("--delay", type=float, default=0.0, metavar="SECONDS", help="wait before answering")
    parser.add_argument("--no-record", dest="record", action="store_false", help="write nothing down")
    return parser.parse_args()


if __name__ == "__main__":
    main()

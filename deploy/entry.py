"""Starts the command `gamenight`; Ctrl-C while its imports are under way is told as at any other time."""

import sys


def main() -> None:
    """Run the command line."""
    try:
        from deploy.cli import main as run

        run()
    except KeyboardInterrupt:
        if "--json" in sys.argv[1:]:
            print('{"error": "stopped by Ctrl-C", "status": 130}')
        else:
            print("stopped by Ctrl-C", file=sys.stderr)
        sys.exit(130)  # deploy.failures.INTERRUPTED, which may not be there yet


if __name__ == "__main__":
    main()

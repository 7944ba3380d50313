"""Make or refresh `.venv` (run by `make setup`). Checks the Python version, in words that any Python 3 can read."""

import sys

PYTHONS = ((3, 11), (3, 12), (3, 13))  # those that the ROS wheels and torch have in common


def main():
    """Check the Python that makes the environment, then go through the steps."""
    if sys.version_info[:2] not in PYTHONS:
        print(
            "set-up: Python 3.11, 3.12 or 3.13 is needed, {} is {}.{}; install one of them (on Debian and Ubuntu "
            "with its -dev package) and run: make setup PYTHON=python3.11".format(
                sys.executable, *sys.version_info[:2]
            ),
            file=sys.stderr,
        )
        return 1
    from environment.steps import set_up

    return set_up()


if __name__ == "__main__":
    sys.exit(main())

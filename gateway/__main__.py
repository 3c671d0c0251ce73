"""The command `gateway`, also as `python -m gateway`."""

from gateway.server.cli import app


def main() -> None:
    """Run the command line."""
    app(prog_name="gateway")


if __name__ == "__main__":
    main()

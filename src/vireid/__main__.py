"""The process that is the command `vireid`; also `python -m vireid`, for torchrun."""

from vireid.runtime.process import own_process


def main() -> None:
    """Run the command that the process's arguments name, and end the process."""
    with own_process():
        from vireid.cli import main as command

        command()


if __name__ == "__main__":
    main()

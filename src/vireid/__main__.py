"""`python -m vireid` is the command `vireid` (for torchrun)."""

from vireid.cli import main

if __name__ == "__main__":
    main()

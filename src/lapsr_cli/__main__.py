"""`python -m lapsr_cli` is `lapsr`."""

from lapsr_cli.cli import main

if __name__ == "__main__":
    main()

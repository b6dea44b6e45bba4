"""`python -m rawstream` is the console script."""

from rawstream.cli import main

if __name__ == "__main__":
    main()

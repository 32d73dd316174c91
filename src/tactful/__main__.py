"""`python -m tactful`, which is also what launchers of several processes start."""

from tactful.cli import main

if __name__ == "__main__":
    main()

"""`python -m cegid_daemon` is the same as the command `cegid-daemon`."""

from cegid_daemon.cli import main

if __name__ == "__main__":
    main()

"""``python -m stream_capi``."""

from stream_capi.cli import main

if __name__ == "__main__":
    main()

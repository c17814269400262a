"""Compressed bodies that decompress to far more than they hold."""

from __future__ import annotations

import zlib

GZIP, ZLIB = 31, 15  # zlib's ``wbits``


def bomb(megabytes: int, wbits: int = GZIP) -> bytes:
    """A small body that decompresses to so many megabytes of zeros.

    The same compressed megabyte again and again, so that it takes no time to make. Its check sum is wrong, which only shows
    after the last byte.
    """
    packer = zlib.compressobj(9, wbits=wbits)
    first = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + again * (megabytes - 1) + packer.flush()

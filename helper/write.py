"""Writes standard input over a file that exists, and flushes it to disk. A copy with a checksum: what is read back later
is compared with what came in here.

Standard output: one line of JSON with the bytes and their sha256. Standard error: why it failed.
"""

import hashlib
import json
import os
import sys

buffer = memoryview(bytearray(1 << 20))
digest = hashlib.sha256()
total = 0
try:
    file = os.open(sys.argv[1], os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW)
    while count := os.readv(0, [buffer]):
        digest.update(buffer[:count])
        total += count
        written = 0
        while written < count:
            written += os.write(file, buffer[written:count])
    os.fsync(file)
    os.close(file)
except OSError as error:
    sys.exit(error.strerror)
print(json.dumps({"bytes": total, "sha256": digest.hexdigest()}))

"""Writes standard input over a file that exists, and flushes it to disk; where none is named, passes it on. A copy with a
checksum: what arrives, and what is read back later, is compared with what came in here.

Its last line is JSON with the bytes and their sha256: on standard output, or on standard error where it passes on.
Standard error: why it failed.
"""

import hashlib
import json
import os
import sys

buffer = memoryview(bytearray(1 << 20))
digest = hashlib.sha256()
total = 0
named = sys.argv[1:]
try:
    file = os.open(named[0], os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW) if named else sys.stdout.fileno()
    while count := os.readv(0, [buffer]):
        digest.update(buffer[:count])
        total += count
        written = 0
        while written < count:
            written += os.write(file, buffer[written:count])
    if named:
        os.fsync(file)
    os.close(file)
except OSError as error:
    sys.exit(error.strerror)
said = json.dumps({"bytes": total, "sha256": digest.hexdigest()})
print(said, file=sys.stdout if named else sys.stderr)

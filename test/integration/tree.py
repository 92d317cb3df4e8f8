"""Prints a folder as JSON, one file a line, by nothing but system calls. Knows nothing of the product.

Goes down by fchdir, so that no path is ever longer than one name.
"""

import hashlib
import json
import os
import stat
import sys

names_of = {}
found = []


def text(name):
    return name.decode("latin-1")


def look(name, path):
    status = os.lstat(name)
    entry = {
        "path": text(path),
        "type": stat.filemode(status.st_mode)[0],
        "mode": oct(stat.S_IMODE(status.st_mode)),
        "owner": f"{status.st_uid}:{status.st_gid}",
        "mtime": str(status.st_mtime_ns),
        "xattrs": {key: os.getxattr(name, key, follow_symlinks=False).hex() for key in sorted(os.listxattr(name, follow_symlinks=False))},
        "blocks": status.st_blocks,
    }
    if stat.S_ISLNK(status.st_mode):
        entry["target"] = text(os.readlink(name))
    if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        entry["device"] = f"{os.major(status.st_rdev)},{os.minor(status.st_rdev)}"
    if stat.S_ISREG(status.st_mode):
        with open(name, "rb") as file:
            entry["content"] = hashlib.blake2b(file.read()).hexdigest()
        entry["size"] = status.st_size
    if not stat.S_ISDIR(status.st_mode):
        entry["links"] = names_of.setdefault(status.st_ino, [])
        entry["links"].append(entry["path"])
    found.append(entry)
    return status


def walk(path):
    for name in os.listdir(b"."):
        inside = path + b"/" + name
        if not stat.S_ISDIR(look(name, inside).st_mode):
            continue
        here = os.open(b".", os.O_RDONLY)
        os.chdir(name)
        walk(inside)
        os.fchdir(here)
        os.close(here)


os.chdir(sys.argv[1])
sys.setrecursionlimit(10_000)
look(b".", b".")
walk(b".")
for entry in sorted(found, key=lambda entry: entry["path"]):
    if "links" in entry:
        entry["links"].sort()
    print(json.dumps(entry, sort_keys=True))

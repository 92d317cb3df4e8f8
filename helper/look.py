"""Says what keeps folders from being emptied and filled again. Changes nothing.

  look.py [--strict] FOLDER...

Standard output: a JSON list with an object for each folder: `readOnly` when nothing on it can be written, how many things
are in the way (`count`), and the first of them (`found`), each as [what, path from the folder]:

  immutable, append-only    a file or folder with chattr +i or +a, which nobody deletes, nor what is in it
  mounted                   a folder or file on which something else is mounted
  unwritable                a folder that its file system lets nobody change, as a server of NFS may

--strict: exit code 5 where anything is in the way.
"""

import errno
import fcntl
import json
import os
import struct
import sys

# FS_IOC_GETFLAGS has the size of a long in it, and yet gives an int.
GET_FLAGS = 0x80006601 | struct.calcsize("l") << 16
FLAGS = {0x10: "immutable", 0x20: "append-only"}
SHOWN = 5


def unescape(text):
    """Of /proc/self/mountinfo, which writes spaces and the like as three octal digits."""
    first, *rest = text.split("\\")
    return first + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)


def mounts_below(root):
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        places = [unescape(line.split()[4]) for line in lines]
    return {os.path.relpath(place, root) for place in places if place.startswith(root.rstrip("/") + "/")}


def flag_of(file):
    try:
        (flags,) = struct.unpack("i", fcntl.ioctl(file, GET_FLAGS, b"\0" * 8)[:4])
    except OSError:  # its file system has none
        return None
    return next((what for bit, what in FLAGS.items() if flags & bit), None)


def flag_at(name, folder):
    try:
        file = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW, dir_fd=folder)
    except OSError:  # it has gone meanwhile, or whoever archives it says what is wrong with it
        return None
    try:
        return flag_of(file)
    finally:
        os.close(file)


def look(root):
    count, found = 0, []

    def note(what, path):
        nonlocal count
        count += 1
        if len(found) < SHOWN:
            found.append([what, path])

    mounts = mounts_below(root)
    for path in sorted(mounts):
        note("mounted", path)
    read_only = bool(os.statvfs(root).f_flag & os.ST_RDONLY)

    def enter(name, parent, path):
        """Goes down by open folders, as the lister does: a whole path may be longer than the kernel takes at once."""
        folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        if what := flag_of(folder):
            note(what, path)
        elif not read_only and not os.access(".", os.W_OK | os.X_OK, dir_fd=folder):
            note("unwritable", path)
        with os.scandir(folder) as entries:
            return folder, path, sorted(entries, key=lambda entry: entry.name, reverse=True)

    stack = [enter(root, None, ".")]
    while stack:
        folder, above, entries = stack[-1]
        if not entries:
            os.close(folder)
            stack.pop()
            continue
        entry = entries.pop()
        path = os.path.normpath(f"{above}/{entry.name}")
        if path in mounts:
            continue
        if entry.is_dir(follow_symlinks=False):
            try:
                stack.append(enter(entry.name, folder, path))
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    raise
        elif entry.is_file(follow_symlinks=False) and (what := flag_at(entry.name, folder)):
            note(what, path)
    return {"readOnly": read_only, "count": count, "found": found}


arguments = sys.argv[1:]
strict = arguments[:1] == ["--strict"]
answers = [look(folder) for folder in arguments[strict:]]
print(json.dumps(answers))
if strict and any(answer["readOnly"] or answer["count"] for answer in answers):
    sys.exit(5)

"""Counts the regular files of a folder and the bytes in them, hard links once: `FILES BYTES`. What goes away meanwhile is not counted."""

import os
import stat
import sys

files = content = 0
seen = set()
folders = [os.fsencode(sys.argv[1])]
while folders:
    try:
        entries = list(os.scandir(folders.pop()))
    except FileNotFoundError:
        continue
    for entry in entries:
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        if stat.S_ISDIR(status.st_mode):
            folders.append(entry.path)
        elif stat.S_ISREG(status.st_mode):
            files += 1
            inode = (status.st_dev, status.st_ino)
            if status.st_nlink == 1 or inode not in seen:
                content += status.st_size
            if status.st_nlink > 1:
                seen.add(inode)
print(files, content)

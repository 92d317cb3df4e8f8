"""Lists a folder, one line a file, so that two folders are equal exactly when their lists are.

Columns, tab-separated: type (as `find -printf %y`), mode in octal, uid:gid, size in bytes (- where it means nothing),
mtime in seconds with nanoseconds, sha256 of the content (- for what has none), path, and what else makes the file, a
column each: `-> target` of a symlink, `= path` of the first name of a hard link, `major,minor` of a device, `xattrs=`
with a sha256 over the extended attributes (ACLs are among them). Sorted by path; bytes that are not printable UTF-8,
backslashes and tabs stand as \\xHH. What no tar can hold is left out: sockets, and which FIFOs and devices are linked.

Standard output: the lines. Standard error: one line of JSON with counts, the length of the longest path in bytes, and
the sha256 of all lines. `changed` counts what went away or changed since the lister began; `privileged`, left out if 0, what
has attributes that only CAP_SYS_ADMIN can set.
"""

import collections
import concurrent.futures
import errno
import hashlib
import json
import mmap
import os
import signal
import stat
import sys
import time

KINDS = {stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l", stat.S_IFIFO: "p", stat.S_IFCHR: "c", stat.S_IFBLK: "b"}
first_name = {}
total = {"entries": 0, "files": 0, "bytes": 0, "sockets": 0, "longest": 0, "changed": 0}
digest = hashlib.sha256()
# Large files are hashed beside the walk, on another core; their lines wait for them, so that the order stays.
LARGE = 1 << 20
hashers = concurrent.futures.ThreadPoolExecutor(2)
waiting = collections.deque()
# The times that the kernel gives to files lag behind its clock by as much as a tick.
began = time.time_ns() - 10_000_000


def escape(name):
    text = name.decode("utf-8", "surrogateescape")
    return "".join(
        c if c.isprintable() and c != "\\" else "".join(f"\\x{b:02x}" for b in c.encode("utf-8", "surrogateescape"))
        for c in text
    )


def content_sha256(file, size):
    """Of an open file, which is closed then."""
    buffer = memoryview(bytearray(min(LARGE, size + 1)))
    sha = hashlib.sha256()
    try:
        while count := os.readv(file, [buffer]):
            sha.update(buffer[:count])
    finally:
        os.close(file)
    return sha.hexdigest()


def known(text):
    future = concurrent.futures.Future()
    future.set_result(text)
    return future


NO_HASH = known("-")


def write_lines(most_waiting):
    """Writes what is known by now, and waits until no more than so many lines are left."""
    while waiting and (len(waiting) > most_waiting or waiting[0][1].done()):
        before, sha, after = waiting.popleft()
        line = "\t".join([*before, sha.result(), *after]).encode("utf-8", "surrogateescape") + b"\n"
        digest.update(line)
        sys.stdout.buffer.write(line)


# Of `security.`, a helper sets capabilities without CAP_SYS_ADMIN, and where there is SELinux its policy has the say on labels.
ORDINARY = {"security.capability"}
with open("/proc/filesystems") as systems:
    if "selinuxfs" in systems.read():
        ORDINARY.add("security.selinux")


def xattrs(path):
    try:
        names = sorted(os.listxattr(path, follow_symlinks=False))
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        return ""
    if not names:
        return ""
    if any(name.startswith(("security.", "trusted.")) and name not in ORDINARY for name in names):
        total["privileged"] = total.get("privileged", 0) + 1
    sha = hashlib.sha256()
    for name in names:
        value = os.getxattr(path, name, follow_symlinks=False)
        sha.update(os.fsencode(name) + b"\0" + str(len(value)).encode() + b"\0" + value)
    return "xattrs=" + sha.hexdigest()


class Ahead:
    """Has the system read a little further than the lister and tar are, so that neither waits for the disk at each file.

    It is only a hint, so whatever goes wrong in it is nobody's loss.
    """

    # Bytes, with one page for each file: enough to keep a disk busy, and little enough to push nothing out of memory.
    LEAD = 64 << 20
    PAGE = 4096

    def __init__(self, root):
        self.total = 0
        self.shared = mmap.mmap(-1, 8)
        self.child = os.fork()
        if self.child == 0:
            try:
                os.close(1)
                self.read_ahead(root, os.getppid())
            finally:
                os._exit(0)

    def listed(self, size):
        self.total += size + self.PAGE
        self.shared[:] = self.total.to_bytes(8, "little")

    def read_ahead(self, root, parent):
        asked = 0
        for path, size in self.files(root):
            file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            os.posix_fadvise(file, 0, min(size, self.LEAD), os.POSIX_FADV_WILLNEED)
            os.close(file)
            asked += size + self.PAGE
            while asked - int.from_bytes(self.shared[:], "little") > self.LEAD:
                time.sleep(0.002)
                if os.getppid() != parent:
                    return

    def files(self, folder):
        """In the order in which the lister comes to them."""
        stack = [sorted(os.scandir(folder), key=lambda entry: entry.name, reverse=True)]
        while stack:
            if not stack[-1]:
                stack.pop()
                continue
            entry = stack[-1].pop()
            if entry.is_dir(follow_symlinks=False):
                stack.append(sorted(os.scandir(entry.path), key=lambda entry: entry.name, reverse=True))
            elif entry.is_file(follow_symlinks=False):
                yield entry.path, entry.stat(follow_symlinks=False).st_size

    def end(self):
        os.kill(self.child, signal.SIGKILL)
        os.waitpid(self.child, 0)


def emit(path, shown):
    status = os.lstat(path)
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFSOCK:
        total["sockets"] += 1
        return
    size, sha, extra = "-", NO_HASH, []
    if kind == stat.S_IFLNK:
        extra.append("-> " + escape(os.readlink(path)))
    elif kind in (stat.S_IFCHR, stat.S_IFBLK):
        extra.append(f"{os.major(status.st_rdev)},{os.minor(status.st_rdev)}")
    elif kind == stat.S_IFREG:
        size = str(status.st_size)
        total["files"] += 1
    inode = (status.st_dev, status.st_ino)
    linked = kind in (stat.S_IFREG, stat.S_IFLNK) and status.st_nlink > 1
    if linked and inode in first_name:
        extra.append("= " + escape(first_name[inode]))
    else:
        if kind == stat.S_IFREG:
            total["bytes"] += status.st_size
            ahead.listed(status.st_size)
            work = (content_sha256, os.open(path, os.O_RDONLY), status.st_size)
            sha = hashers.submit(*work) if status.st_size >= LARGE else known(work[0](*work[1:]))
        if linked:
            first_name[inode] = shown
    if attributes := xattrs(path):
        extra.append(attributes)
    seconds, nanoseconds = divmod(status.st_mtime_ns, 1_000_000_000)
    before = [
        KINDS.get(kind, "?"), f"{stat.S_IMODE(status.st_mode):04o}", f"{status.st_uid}:{status.st_gid}", size,
        f"{seconds}.{nanoseconds:09d}",
    ]
    waiting.append((before, sha, [escape(shown), *extra]))
    write_lines(64)
    total["entries"] += 1
    total["longest"] = max(total["longest"], len(shown))
    total["changed"] += status.st_ctime_ns >= began


def names_in(folder):
    return sorted(map(os.fsencode, os.listdir(folder)), reverse=True)


def walk(root):
    """Goes down by open folders, not by whole paths: a path in a volume may be longer than the kernel takes at once."""
    emit(root, b".")
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    stack = [(folder, b".", names_in(folder))]
    while stack:
        folder, shown, names = stack[-1]
        if not names:
            os.close(folder)
            stack.pop()
            continue
        name = names.pop()
        path, name_shown = b"/proc/self/fd/%d/%s" % (folder, name), shown + b"/" + name
        try:
            emit(path, name_shown)
            if stat.S_ISDIR(os.lstat(path).st_mode):
                child = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
                stack.append((child, name_shown, names_in(child)))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENODATA):
                raise
            total["changed"] += 1


root = os.fsencode(sys.argv[1])
ahead = Ahead(root)
try:
    walk(root)
    write_lines(0)
finally:
    ahead.end()
sys.stdout.buffer.flush()
print(json.dumps({**total, "digest": digest.hexdigest()}), file=sys.stderr)

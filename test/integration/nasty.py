"""Fills the current folder with all that a volume can hold and a copy can lose. Runs as root in a container."""

import os
import socket
import struct
import sys

small_files = int(sys.argv[1])


def write(name, content=b"", mode=0o644):
    with open(name, "wb") as file:
        file.write(content)
    os.chmod(name, mode)


def times(name, nanoseconds, follow=True):
    os.utime(name, ns=(0, nanoseconds), follow_symlinks=follow)


os.makedirs("links/other")
write("links/one", b"one inode, three names\n")
os.link("links/one", "links/two")
os.link("links/one", "links/other/three")
os.symlink("one", "links/relative")
os.link("links/relative", "links/relative-again", follow_symlinks=False)
os.symlink("/etc/hostname", "links/absolute")
os.link("links/absolute", "links/absolute-again", follow_symlinks=False)
os.symlink("../../../../outside", "links/upwards")
os.symlink("nowhere", "links/dangling")
os.symlink("loop-b", "links/loop-a")
os.symlink("loop-a", "links/loop-b")
os.symlink("other", "links/to-folder")
os.symlink("x" * 4000, "links/long-target")
os.symlink(b"\xff\n\t\\ ", "links/odd-target")

os.mkdir("sparse")
with open("sparse/holes", "wb") as file:
    file.write(b"start")
    file.seek(20_000_000)
    file.write(b"middle")
    file.seek(60_000_000)
    file.write(b"end")
write("sparse/nothing-but-a-hole")
os.truncate("sparse/nothing-but-a-hole", 50_000_000)
write("sparse/hole-at-the-end", b"data" * 5000)
os.truncate("sparse/hole-at-the-end", 30_000_000)
write("sparse/zeros-that-are-written", bytes(100_000))

os.mkdir("attributes")
write("attributes/file", b"with attributes")
os.setxattr("attributes/file", "user.note", b"text")
os.setxattr("attributes/file", "user.empty", b"")
os.setxattr("attributes/file", "user.binary", bytes(range(256)))
os.setxattr("attributes/file", "user.ünï", b"\n=\0")
os.mkdir("attributes/folder")
os.setxattr("attributes/folder", "user.note", b"folders have them too")


def acl(*entries):
    """As the kernel keeps it (linux/posix_acl_xattr.h): version 2, then tag, permissions and id of each entry."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


nobody_else = 0xFFFFFFFF
entries = [(0x01, 6, nobody_else), (0x02, 7, 12345), (0x04, 4, nobody_else), (0x08, 5, 54321)]
entries += [(0x10, 7, nobody_else), (0x20, 0, nobody_else)]
write("attributes/acl", b"with an access list")
os.setxattr("attributes/acl", "system.posix_acl_access", acl(*entries))
os.mkdir("attributes/inherits")
os.setxattr("attributes/inherits", "system.posix_acl_default", acl(*entries))
write("attributes/inherits/heir", b"made under a default access list")
write("attributes/capable", b"#!/bin/true\n", 0o755)
# cap_net_bind_service,cap_net_raw=ep, as setcap writes it: revision 2, effective.
os.setxattr("attributes/capable", "security.capability", struct.pack("<5I", 0x02000001, 1 << 10 | 1 << 13, 0, 0, 0))

os.mkdir("modes")
for mode in [0o0000, 0o0444, 0o0777, 0o2755, 0o4755, 0o6711, 0o1644]:
    write(f"modes/file-{mode:04o}", b"mode", mode)
    os.mkdir(f"modes/folder-{mode:04o}")
    write(f"modes/folder-{mode:04o}/inside")
    os.chmod(f"modes/folder-{mode:04o}", mode)

os.mkdir("kinds")
os.mkfifo("kinds/fifo", 0o620)
os.link("kinds/fifo", "kinds/fifo-again")
os.mknod("kinds/character", 0o20640, os.makedev(1, 3))
os.mknod("kinds/block", 0o60660, os.makedev(259, 1_000_000))
socket.socket(socket.AF_UNIX).bind("kinds/socket")
socket.socket(socket.AF_UNIX).bind("kinds/another socket")
os.mkdir("kinds/empty-folder")
os.mkdir("kinds/emptier")
os.mkdir("kinds/emptier/still")
write("kinds/empty-file")

os.mkdir("names")
odd = [
    b"line\nfeed", b"tab\there", b"back\\slash", b"back\\nslash", b"-rf", b"--checkpoint-action=exec=sh x", b"\xff\xfe\x80",
    b"caf\xe9", "café".encode(), "cafe\u0301".encode(), b" ", b"  leading", b"trailing ", b"*?[a]", b"'\"`$(x)", b"\x01\x1b[31m",
    b"n" * 255, "ü".encode() * 127, b"CASE", b"case", b"...", b".hidden", b"a:b", b"@file", "\u202eflip".encode(), b"%s%n",
]
for name in odd:
    write(b"names/" + name, name)
    os.mkdir(b"names/folder " + name[:240])
    write(b"names/folder " + name[:240] + b"/" + name, name)
deep = "/".join(["d" * 200] * 17)
os.makedirs(f"names/{deep}")
write(f"names/{deep}/deep", b"a path of 3,400 bytes")

os.mkdir("owners")
for number, (user, group) in enumerate([(0, 0), (65534, 65534), (999, 1000), (4_000_000_000, 3_999_999_999), (2_097_151, 2_097_152)]):
    write(f"owners/{number}", b"owned", 0o4711)
    os.chown(f"owners/{number}", user, group)
    os.chmod(f"owners/{number}", 0o4711)
    os.symlink("0", f"owners/link-{number}")
    os.chown(f"owners/link-{number}", user, group, follow_symlinks=False)
    os.mkdir(f"owners/folder-{number}")
    os.chown(f"owners/folder-{number}", user, group)

os.mkdir("small")
for number in range(small_files):
    if number % 500 == 0:
        os.mkdir(f"small/{number // 500}")
    write(f"small/{number // 500}/{number}", b"%d\n" % number * (number % 50))

second = 1_000_000_000
os.mkdir("times")
for number, when in enumerate([0, 1, -1, second // 2, -second // 2, -86_400 * second + 1, 981_173_106 * second + 789_012_345,
                               -(2**31) * second, (2**31) * second + 999_999_999, 13_569_465_600 * second + 1]):
    write(f"times/file-{number}")
    times(f"times/file-{number}", when)
    os.symlink("nowhere", f"times/link-{number}")
    times(f"times/link-{number}", when, follow=False)
    os.mkdir(f"times/folder-{number}")
    write(f"times/folder-{number}/inside")
    times(f"times/folder-{number}", when)

os.setxattr(".", "user.root", b"the root folder has one too")
os.setxattr(".", "system.posix_acl_default", acl(*entries))
os.chown(".", 1234, 4321)
os.chmod(".", 0o3751)
times(".", 1_000_000_000 * second + 123_456_789)

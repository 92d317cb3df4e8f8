"""SQLite files in volumes.

  find FOLDER...       prints a JSON list of [index of the folder, path from it]; names that are not UTF-8 are left out,
                       and what is in the folders of the JSON list $WITHOUT
  count FILE LIMIT     prints a JSON object: rows of each table, none counted further than LIMIT
  dump FILE SCRATCH    copies the file as of one moment, whoever writes to it, proves the copy sound, and prints it

Exit code 9: the file is not what it looks like, is damaged, or cannot be opened; anything else but 0 is a failure.
"""

import json
import os
import re
import sqlite3
import sys
import urllib.parse

MAGIC = b"SQLite format 3\0"
UNREADABLE = 9


def looks_like(path, size):
    # A database is a number of pages, which are 512 bytes or a larger power of 2.
    if size < 512 or size % 512 != 0:
        return False
    try:
        with open(path, "rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def find(folders):
    found = []
    without = json.loads(os.environ.get("WITHOUT", "[]"))
    for index, folder in enumerate(folders):
        device = os.stat(folder).st_dev
        rest = [folder]
        while rest:
            try:
                entries = list(os.scandir(rest.pop()))
            except OSError:
                continue
            for entry in entries:
                try:
                    facts = entry.stat(follow_symlinks=False)
                except OSError:  # it has gone meanwhile
                    continue
                if entry.is_dir(follow_symlinks=False):
                    if facts.st_dev == device and entry.path not in without:
                        rest.append(entry.path)
                elif entry.is_file(follow_symlinks=False) and looks_like(entry.path, facts.st_size):
                    found.append([index, os.path.relpath(entry.path, folder)])
    print(json.dumps([item for item in sorted(found) if is_utf8(item[1])]))


def is_utf8(name):
    try:
        name.encode()
        return True
    except UnicodeEncodeError:
        return False


def connect(path):
    # Only to read: where that needs a file beside it that is not there, it fails, and nothing is made.
    return sqlite3.connect(f"file:{urllib.parse.quote(path)}?mode=ro", uri=True, timeout=30)


def count(path, limit):
    connection = connect(path)
    counts = {}
    tables = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
        " AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name"
    ).fetchall()
    for (name,) in tables:
        quoted = '"' + name.replace('"', '""') + '"'
        (counts[name],) = connection.execute(f"SELECT count(*) FROM (SELECT 1 FROM {quoted} LIMIT {int(limit)})").fetchone()
    print(json.dumps(counts))


def dump(path, scratch):
    discard(scratch)  # of a run that was killed
    try:
        copy = sqlite3.connect(scratch)
        connect(path).backup(copy)
        # The copy stands alone: what reads it needs no other file.
        copy.execute("PRAGMA journal_mode = DELETE")
        verdicts = check(copy)
        copy.close()
        if verdicts != ["ok"]:
            raise sqlite3.DatabaseError("; ".join(verdicts[:3]))
        with open(scratch, "rb") as file:
            while chunk := file.read(1 << 20):
                sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
    finally:
        discard(scratch)


def check(copy):
    # An order that only the application knows is not needed to copy; the check needs to have one of that name. Whether
    # the entries of indexes are in that order is then not looked at: quick_check does all but that.
    pragma, added = "integrity_check", set()
    while True:
        try:
            return [verdict for (verdict,) in copy.execute(f"PRAGMA {pragma}")]
        except sqlite3.OperationalError as error:
            missing = re.match(r"no such collation sequence: (.+)", str(error))
            if missing is None or missing[1] in added:
                raise
            added.add(missing[1])
            copy.create_collation(missing[1], lambda a, b: (a > b) - (a < b))
            pragma = "quick_check"


def discard(scratch):
    for name in (scratch, scratch + "-journal"):
        if os.path.exists(name):
            os.unlink(name)


command, *rest = sys.argv[1:]
try:
    {"find": lambda: find(rest), "count": lambda: count(*rest), "dump": lambda: dump(*rest)}[command]()
except sqlite3.DatabaseError as error:
    print(error, file=sys.stderr)
    sys.exit(1 if "locked" in str(error) or "full" in str(error) else UNREADABLE)

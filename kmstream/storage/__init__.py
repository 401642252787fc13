"""Where outputs lie: folders of this machine's disks, or of an object store.

Read in this order: `places` (find and read), `changes` (write, move, remove), `conditional` (one object, put only if
nobody else did), `lease` (the lock), `objects` (a new object from the bytes of another), `reading` (ranges of an object
as a file), `failures` (what goes wrong).
"""

from kmstream.storage.changes import (
    move,
    move_files,
    new_folder,
    remove_file,
    remove_files,
    remove_tree,
    replace_bytes,
    replace_file,
    sync_file,
)
from kmstream.storage.conditional import put_if, read_tagged
from kmstream.storage.failures import S3, explain_storage_errors, explain_write_errors, guard_process
from kmstream.storage.lease import hold_lease
from kmstream.storage.objects import append_to_copy, read_blocks, upload
from kmstream.storage.places import (
    Place,
    checkout,
    exists,
    is_folder,
    is_local,
    list_files,
    open_filesystem,
    open_place,
    read_bytes,
    read_text,
)
from kmstream.storage.reading import RangedFile

__all__ = [
    "S3",
    "Place",
    "RangedFile",
    "append_to_copy",
    "checkout",
    "exists",
    "explain_storage_errors",
    "explain_write_errors",
    "guard_process",
    "hold_lease",
    "is_folder",
    "is_local",
    "list_files",
    "move",
    "move_files",
    "new_folder",
    "open_filesystem",
    "open_place",
    "put_if",
    "read_blocks",
    "read_bytes",
    "read_tagged",
    "read_text",
    "remove_file",
    "remove_files",
    "remove_tree",
    "replace_bytes",
    "replace_file",
    "sync_file",
    "upload",
]

"""Entities that changed their segment from one snapshot of the data to a later one: which, when, from where to where.

An entity is what the rows with one key belong to, such as a customer. What is known of entities is held for one range
of keys at a time: a range that does not fit the memory is cut in two, and the files are read again for each part. The
answer is the same, byte for byte, however often that happens.

Read in this order: `moves` (the whole search), `follow` (one range of keys through all snapshots), `held` (what is held
of entities, sorted and added up), `snapshots` (the files that are read, and what is wrong with them), `spill` (the
files that are written).
"""

from kmstream.entities.moves import Moves, find_moves
from kmstream.entities.snapshots import Snapshot, read_key_type

__all__ = ["Moves", "Snapshot", "find_moves", "read_key_type"]

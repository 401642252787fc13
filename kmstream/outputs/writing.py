"""How an output file gets to its place: whole, or not at all."""

import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeAlias

from kmstream.append import append_columns, write_tail
from kmstream.dataset import CLUSTER_COLUMNS, SPAN_ROWS, Partition, check_unchanged
from kmstream.errors import CorruptFileError
from kmstream.outputs.columns import CLUSTER_SCHEMA
from kmstream.outputs.copied import Copied, join, read_partition_footer
from kmstream.outputs.plan import OutputPlan
from kmstream.outputs.rewritten import Rewritten
from kmstream.storage import Place, append_to_copy, explain_write_errors, is_local, sync_file, upload

Output: TypeAlias = Copied | Rewritten


@contextmanager
def open_output(plan: OutputPlan, partition: Partition) -> Iterator[Output]:
    """Open the output of one partition; it appears under its name when the block ends without an error.

    Raises
    ------
    OutputError, StorageError
        If the file can't be written; nothing is left of it then.
    CorruptFileError
        If the input is no longer the file that it was.
    """
    target = plan.folder / partition.path
    try:
        with _temporary_file(target) as temporary, ExitStack() as stack:
            output = _begin(plan, partition, temporary, stack)
            check_unchanged(plan.dataset, partition)
            yield output
            with explain_write_errors(target):
                stack.close()
            check_unchanged(plan.dataset, partition)
            _finish(plan, partition, output.n_missing, temporary)
    except (CorruptFileError, FileNotFoundError) as error:
        check_unchanged(plan.dataset, partition)
        if not getattr(error, "__notes__", ()):
            error.add_note(f"in {partition.uri}")
            error.add_note("Write the file again, or move it out of dataset.path; nothing was published.")
        raise


@contextmanager
def _temporary_file(target: Place) -> Iterator[Path]:
    """Give a name on this machine's disks that no other try has: of two workers one may only be thought to be dead."""
    if is_local(target):
        with explain_write_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    else:
        temporary = Path(tempfile.gettempdir()) / f"kmstream-{uuid.uuid4().hex}.parquet"
        temporary.touch(mode=0o600)  # the folder is everybody's
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _begin(plan: OutputPlan, partition: Partition, temporary: Path, stack: ExitStack) -> Output:
    """Begin to write the file by copying if that can be, else again; `stack` completes it."""
    if plan.columns is not None:
        return Rewritten(plan, partition, temporary, stack, "output.columns names the columns to carry")
    if partition.rows > SPAN_ROWS and partition.longest_group > plan.max_group_rows:
        why = f"a row group has {partition.longest_group} rows; engine.memory_limit has room for {plan.max_group_rows}"
        return Rewritten(plan, partition, temporary, stack, why)
    footer = read_partition_footer(plan.dataset, partition)
    if reason := footer.why_not_appendable(CLUSTER_COLUMNS):
        return Rewritten(plan, partition, temporary, stack, reason)
    target, is_copied = plan.folder / partition.path, plan.dataset.is_local and is_local(plan.folder)
    with explain_write_errors(target):
        appended = (append_columns if is_copied else write_tail)(footer, temporary, CLUSTER_SCHEMA, plan.metadata)
        return Copied(target, stack.enter_context(appended), 0 if is_copied else footer.start)


def _finish(plan: OutputPlan, partition: Partition, n_missing: int, temporary: Path) -> None:
    """Put the file to its place. Where only what comes after the old bytes was written, put both together."""
    target, filesystem = plan.folder / partition.path, plan.dataset.filesystem
    if not n_missing:
        _put(temporary, target)
    elif filesystem is not None and append_to_copy(filesystem, partition.uri, n_missing, temporary, target):
        check_unchanged(plan.dataset, partition)
    else:
        with _temporary_file(target) as whole:
            with explain_write_errors(target):
                join(plan.dataset, partition, n_missing, temporary, whole)
            check_unchanged(plan.dataset, partition)
            _put(whole, target)


def _put(file: Path, target: Place) -> None:
    with explain_write_errors(target):
        if is_local(target):
            sync_file(file)
        upload(file, target, is_new=True)

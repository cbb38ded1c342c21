"""Cuts a file into the bodies of a transform job's requests: the whole file, each line, or as many lines as fit."""

from collections.abc import Iterator
from typing import BinaryIO


class PayloadTooLarge(ValueError):
    """A file or a line is larger than MaxPayloadInMB."""


def payloads(file: BinaryIO, split: str, strategy: str, most_bytes: int) -> Iterator[bytes]:
    r"""Yield the bodies of a file's requests, in its order.

    Args:
        file: The file, from its start.
        split: SplitType: None or Line. Blank lines are skipped.
        strategy: BatchStrategy of lines: SingleRecord or MultiRecord.
        most_bytes: The most bytes of a body.

    Raises:
        PayloadTooLarge: If the file, or a line, does not fit.

    >>> import io
    >>> list(payloads(io.BytesIO(b"1,2\n3,4\n5,6"), "Line", "MultiRecord", 8))
    [b'1,2\n3,4\n', b'5,6']
    """
    if split == "None":
        whole = file.read(most_bytes + 1)
        if len(whole) > most_bytes:
            raise PayloadTooLarge(f"the file is larger than {most_bytes} bytes")
        if whole:
            yield whole
        return
    gathered: list[bytes] = []
    size = number = 0
    while line := file.readline(most_bytes + 1):
        number += 1
        if len(line) > most_bytes:
            raise PayloadTooLarge(f"line {number} is larger than {most_bytes} bytes")
        if line.isspace():
            continue
        if gathered and (strategy == "SingleRecord" or size + len(line) > most_bytes):
            yield b"".join(gathered)
            gathered, size = [], 0
        gathered.append(line)
        size += len(line)
    if gathered:
        yield b"".join(gathered)

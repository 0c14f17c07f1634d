"""The child process: reads files from its input, decodes them, and writes what they hold.

A request is a line of JSON, ``{"kind": "audio", "options": {..}, "size": n}``, and n bytes. The
answer is a line of JSON and, for an array, its bytes. The process ends when its input ends, or when
nothing was asked for a while.
"""

from __future__ import annotations

import json
import resource
import select
import signal
import sys
from contextlib import suppress
from typing import Any, BinaryIO

import numpy as np

MAX_MEMORY = 4 << 30  # bytes of address space; the libraries take a part of it
IDLE = 30.0  # seconds without a request after which the process ends
LONGEST = 90  # seconds for one file; ends this process also where nobody is left to end it


def decode(kind: str, data: bytes, options: dict[str, Any]) -> str | np.ndarray:
    """Decode one file; each kind imports its own library."""
    if kind == "audio":
        from .audio import decode_audio

        return decode_audio(data, **options)
    if kind == "video":
        from .video import decode_frames

        return decode_frames(data, **options)
    from .pdf import decode_pdf

    return decode_pdf(data)


def answer(request: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    """Decode the file of one request; what it cannot is said in the answer."""
    try:
        found = decode(request["kind"], data, request["options"])
    except MemoryError:
        return {"error": f"it needs more than {MAX_MEMORY >> 30} GiB when decoded"}, b""
    except Exception as error:  # whatever a decoder raises about a hostile file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return {"error": reason[:200]}, b""
    if isinstance(found, str):
        return {"text": found}, b""
    return {"shape": found.shape, "dtype": str(found.dtype)}, found.tobytes()


def limit() -> None:
    """Bound what a file can cost: memory, files, dumps of memory."""
    for what, most in (
        (resource.RLIMIT_AS, MAX_MEMORY),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        with suppress(ValueError, OSError):  # macOS bounds no address space
            resource.setrlimit(what, (most, most))


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until there are no more."""
    while select.select([requests], [], [], IDLE)[0]:
        line = requests.readline()
        if not line:
            return
        request = json.loads(line)
        data = requests.read(request["size"])
        signal.alarm(LONGEST)
        head, body = answer(request, data)
        signal.alarm(0)
        answers.write(json.dumps({**head, "size": len(body)}).encode() + b"\n" + body)
        answers.flush()


if __name__ == "__main__":
    limit()
    serve(sys.stdin.buffer, sys.stdout.buffer)

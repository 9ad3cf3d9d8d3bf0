"""How a process that another one started has ended: with an error, or without a word."""

import signal

from autopeft import errors


class WorkerTraceback(Exception):  # noqa: N818 - it is no error of its own, but the cause of one
    """Where an error arose in a worker's process, as text."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def met(name: str, message: str, traceback: str) -> Exception:
    """Returns the error that another process met, to be raised here, its traceback as the cause.

    Args:
        name: of the error's class; one of autopeft's own stays it, any other is a defect.
        message: what it says.
        traceback: where it arose.
    """
    kind = getattr(errors, name, None)
    found: Exception = RuntimeError(f"A worker met {name}: {message}. The study can be resumed.")
    if kind is not None:
        found = kind(message)
    found.__cause__ = WorkerTraceback(traceback)
    return found


def cause_of_death(code: int) -> str:
    """Returns what an exit code says of a process that ended without a word."""
    if code == -signal.SIGKILL:
        return "its process was killed, as the kernel does when memory runs out"
    return f"its process ended with {signal.Signals(-code).name if code < 0 else f'exit code {code}'}"

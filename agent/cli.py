"""The command line, ``perdure``.

Heavy libraries, the command line library among them, are imported only by what needs them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

INTERRUPTED = 130
TRACEBACK_VARIABLE = "PERDURE_TRACEBACK"
"""Set to 1 to see where an error came from."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code; every error is one line on standard error."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _run(words, own_process=arguments is None)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # The reader has gone, as in `perdure metrics | head`; the interpreter must not flush into it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if os.environ.get(TRACEBACK_VARIABLE) == "1":
            import traceback

            traceback.print_exc()
        return _fail(_message(error), getattr(error, "exit_code", 1))
    # The command line library turns Ctrl-C into this code and says nothing.
    return _fail("interrupted", code) if code == INTERRUPTED else code


def _run(words: list[str], *, own_process: bool) -> int:
    from agent.cli_status import answered

    if answered(words):
        return 0
    from agent.cli_app import app

    code = app(args=words, prog_name="perdure", standalone_mode=False, obj=own_process)
    return code if isinstance(code, int) else 0


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"Error: {' '.join(message.split())}\n")
    return code


def _message(error: Exception) -> str:
    """What the user can do something about; an error that nobody foresaw says how to learn more."""
    if hasattr(error, "format_message"):
        return f"{error.format_message().rstrip('.') or 'no command given'}; see perdure --help"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    if isinstance(error, (ValueError, RuntimeError, OSError)) and str(error):
        return str(error)
    return f"unexpected {type(error).__name__}: {error} (set {TRACEBACK_VARIABLE}=1 to see where it came from)"


if __name__ == "__main__":
    sys.exit(main())

"""Commands that are stopped in the middle."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path


def stop_at(marker: str, stop: signal.Signals, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command, send it ``stop`` as soon as a line of its progress holds ``marker``, and wait for its end."""
    line = [sys.executable, "-m", "rlbench.cli", *map(str, arguments)]
    # A shell may have started us with Ctrl-C ignored, which children inherit.
    process = subprocess.Popen(
        line,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    seen = ""
    for text in process.stderr:
        seen += text
        if marker in text:
            process.send_signal(stop)
            break
    rest = process.communicate(timeout=120)[1]
    return subprocess.CompletedProcess(line, process.returncode, "", seen + rest)

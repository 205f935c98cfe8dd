"""One program over many processes: a cluster of `jax.distributed`, whose processes divide the blocks among them.

JAX aborts a process whose cluster is not complete in time or has broken. So a child does the work, the same command
line run again; the process that was started waits for it, and says in one line how it ended.
"""

import os
import signal
import subprocess
import tempfile
import threading

import jax

from dagger_jax.runtime import record

from ..shared import program
from .contract import BadFlag
from .sharing import DETECT, Sharing

_CALLED = "DAGGER_JAX_CLUSTER"
_FOREVER = 10**7  # seconds in which all blocks are measured
block = threading.Lock()  # held while a block is measured and stored
_inside = False
_patience = 0  # seconds, as --heartbeat says


def inside() -> bool:
    """Whether this process is the child."""
    return _inside


def begin(name: str) -> None:
    """Makes a process that `supervise` has started the child: it ends when its parent does, or after its block.

    Args:
        name: the experiment.
    """
    global _inside
    if os.environ.pop(_CALLED, None) is None:
        return
    _inside = True

    def follow() -> None:
        while os.read(0, 1):  # until the parent has ended
            pass
        os._exit(program.FAILED)

    def leave() -> None:
        with block:
            program.say(f"{name}: terminated; {program.RESUMES}")
            # If all are terminated, the others' blocks end too; JAX would abort them if this process left before.
            waiting = threading.Timer(_patience, os._exit, (128 + signal.SIGTERM,))
            waiting.start()
            wait()
            os._exit(128 + signal.SIGTERM)

    def later(number: int) -> bool:
        if number != signal.SIGTERM:
            return False
        threading.Thread(target=leave, daemon=True).start()
        return True

    threading.Thread(target=follow, daemon=True).start()
    program.later = later


def supervise(name: str, sharing: Sharing) -> int:
    """Runs the child until it ends.

    Args:
        name: the experiment.
        sharing: what the command line says.

    Returns:
        The child's exit status; 3 where the cluster was not complete in time, or has lost a process.
    """
    if not program.again:
        raise BadFlag("coordinator", "a library starts no processes; allowed: from the command line")
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(
            program.again,
            stdin=subprocess.PIPE,
            stderr=said,
            env={**os.environ, _CALLED: "1"},
            process_group=0,  # an interrupt at the terminal is for this process
        )

        def end(number: int) -> None:
            child.send_signal(number if number == signal.SIGTERM else signal.SIGKILL)
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

        program.leaving.append(end)
        with child:
            status = child.wait()
        program.leaving.remove(end)
        said.seek(0)
        text = said.read().decode(errors="replace")
    for line in text.splitlines():
        if line.startswith(f"{name}: "):  # and no log of JAX's
            program.say(line)
    if status >= 0:
        return status
    if status != -signal.SIGABRT:
        program.say(f"{name}: ended by signal {signal.Signals(-status).name}; {program.RESUMES}")
    elif "RegisterTask" in text:
        where = f"{sharing.coordinator} did not answer, or not all processes came, in {sharing.heartbeat} s"
        program.say(f"{name}: --coordinator: {where}; nothing was measured")
    else:
        program.say(f"{name}: another process of the cluster has ended or does not answer; {program.RESUMES}")
    return program.FAILED


def join(sharing: Sharing) -> Sharing:
    """Enters the cluster; call it in the child, before JAX computes anything.

    Args:
        sharing: what the command line says.

    Returns:
        The same, with this process's shard.

    Raises:
        BadFlag: nothing is detected.
        Unavailable: the coordinator cannot be served here.
    """
    # Its own handling of SIGTERM would take the signal away from `begin`.
    global _patience
    _patience = sharing.heartbeat
    jax.config.update("jax_enable_preemption_service", False)
    address = None if sharing.coordinator == DETECT else sharing.coordinator
    try:
        jax.distributed.initialize(
            address,
            sharing.num_processes,
            sharing.process_id,
            initialization_timeout=sharing.heartbeat,
            heartbeat_timeout_seconds=sharing.heartbeat,
            shutdown_timeout_seconds=_FOREVER,
        )
    except ValueError as error:
        raise BadFlag("coordinator", f"no cluster is detected ({error}); allowed: HOST:PORT") from error
    except RuntimeError as error:
        raise record.Unavailable(f"--coordinator: {sharing.coordinator}: {program.brief(error)}") from error
    own, count = jax.process_index(), jax.process_count()
    return sharing._replace(shard=(own + 1, count), process_id=own, num_processes=count)


def wait() -> None:
    """Waits until all processes have measured their blocks, and leaves the cluster."""
    jax.distributed.shutdown()

"""JAX's persistent cache of compiled programs, in the user's cache folder."""

import errno
import glob
import hashlib
import os
import platform
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache

# All folders of the cache together. JAX's own limit reads the times of all entries whenever it writes one: at 5,000
# entries 185 ms of CPU time a program, more than most take to compile.
LIMIT = 1 << 30
_TROUBLE = r"Error (?P<doing>reading|writing) persistent compilation cache entry for '(?P<name>.*?)': (?P<why>.*)"


@contextmanager
def use(on: bool, say: Callable[[str], None]) -> Iterator[None]:
    """Keeps compiled programs in the user's cache folder while the context is open; if not on, uses no cache.

    The folder is XDG_CACHE_HOME/dagger_jax, in it one for each version of JAX, device and host processor. What the
    environment says by JAX's own variables (JAX_COMPILATION_CACHE_DIR, JAX_ENABLE_COMPILATION_CACHE, thresholds)
    stays. Trouble fails nothing: a folder that cannot be used is not, an entry that cannot be read is compiled anew.

    Args:
        on: whether there shall be a cache.
        say: is told in one line what is wrong with the folder, and once what is wrong with its entries.
    """
    chosen: dict[str, Any] = _options(say) if on else {"jax_enable_compilation_cache": False}
    before = {name: jax.config.values[name] for name in chosen}
    with warnings.catch_warnings():
        _tell_once(chosen.get("jax_compilation_cache_dir"), say)
        _configure(chosen)
        try:
            yield
        finally:
            _configure(before)


def _configure(options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()  # JAX reads its options once


def _options(say: Callable[[str], None]) -> dict[str, Any]:
    """JAX's options with which it keeps every program; none where there is no folder for them."""
    options = {"jax_persistent_cache_min_compile_time_secs": 0.0, "jax_persistent_cache_min_entry_size_bytes": -1}
    if not jax.config.values["jax_enable_compilation_cache"]:
        return {}
    if jax.config.values["jax_compilation_cache_dir"] is None:
        try:
            options["jax_compilation_cache_dir"] = str(_folder())
        except (OSError, RuntimeError) as error:  # a RuntimeError where there is no home
            why = f"{error.filename} ({error.strerror})" if isinstance(error, OSError) else error
            say(f"no compile cache: {why}")
            return {}
    return {name: value for name, value in options.items() if name.upper() not in os.environ}


def _folder() -> Path:
    """Makes the folder for this software and machine; raises OSError or RuntimeError where there can be none."""
    given = os.environ.get("XDG_CACHE_HOME", "")  # which counts only if it is absolute
    above = (Path(given) if os.path.isabs(given) else Path.home() / ".cache") / "dagger_jax"
    device = jax.devices()[0]
    versions = "_".join(f"{name}-{metadata.version(name)}" for name in ("jax", "jaxlib"))
    made_for = f"{versions}_{device.platform}-{device.device_kind}_{_processor()}"
    folder = above / re.sub(r"[^\w.-]+", "-", made_for)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Programs run as they are read: whoever may write there may run anything in the user's name.
    if (status := folder.stat()).st_uid != os.getuid() or status.st_mode & 0o022:
        raise PermissionError(errno.EPERM, "others may write there", str(folder))
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
    _prune(above)
    return folder


def _processor() -> str:
    """The host's processor, briefly: a program uses all that it can, and another would stop at that."""
    words = [platform.machine(), platform.processor()]
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(errors="replace").partition("\n\n")[0].splitlines()
        words += [line for line in lines if re.match(r"(model name|flags|Features|CPU (implementer|part))\b", line)]
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:12]


def _prune(folder: Path) -> None:
    """Where there is more than the limit, removes what was not used for longest, down to half of it."""
    found = list[tuple[float, int, Path]]()
    for path in folder.rglob("*-cache"):
        with suppress(OSError):  # another process may prune, too
            status = path.stat()
            found.append((max(status.st_atime, status.st_mtime), status.st_size, path))
    size = sum(each[1] for each in found)
    goal = size if size <= LIMIT else LIMIT // 2
    for _, less, path in sorted(found):
        if size <= goal:
            break
        with suppress(OSError):
            path.unlink()
        size -= less


def _tell_once(folder: str | None, say: Callable[[str], None]) -> None:
    """Has JAX's warnings of entries end in one line, and removes such an entry of our own: JAX replaces none."""
    show, told = warnings.showwarning, False

    def shown(message, category, filename, lineno, file=None, line=None) -> None:
        nonlocal told
        trouble = re.match(_TROUBLE, str(message), re.DOTALL)
        if trouble is None:
            show(message, category, filename, lineno, file, line)
            return
        if folder and trouble["doing"] == "reading":
            for entry in Path(folder).glob(f"{glob.escape(trouble['name'])}-*-cache"):
                with suppress(OSError):
                    entry.unlink()
        if not told:
            told = True
            say(f"trouble {trouble['doing']} the compile cache, ignored: {trouble['name']}, {trouble['why'][:200]}")

    warnings.filterwarnings("always", _TROUBLE)
    warnings.showwarning = shown

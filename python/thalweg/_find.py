"""Where the `thalweg` command of this installation lies."""

import os
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

_NAME = "thalweg" + (sysconfig.get_config_var("EXE") or "")


def find_binary() -> str:
    """Return the path of the `thalweg` command.

    The environment variable `THALWEG_BIN` decides if it is set. Otherwise the command is looked
    for wherever pip puts commands: beside this interpreter, in the user's own scheme, and beside
    the package as `pip install --prefix` and `--target` place it.

    Raises:
        FileNotFoundError: there is no such file; the message lists every place looked at.
    """
    override = os.environ.get("THALWEG_BIN")
    if override:
        if Path(override).is_file():
            return override
        raise FileNotFoundError(
            f"THALWEG_BIN names `{override}`, which is not a file; "
            "let it name the thalweg command, or unset it"
        )
    places = list(dict.fromkeys(_folders()))
    for folder in places:
        command = Path(folder, _NAME)
        if command.is_file():
            return str(command)
    raise FileNotFoundError(
        f"the command `{_NAME}` is not in " + ", ".join(f"`{place}`" for place in places) + "; "
        "install thalweg again with pip, or let THALWEG_BIN name the command"
    )


def _folders() -> Iterator[str]:
    yield sysconfig.get_path("scripts")
    # A virtual environment that sees the packages of the interpreter it was made from.
    yield sysconfig.get_path("scripts", vars={"base": sys.base_prefix})
    yield sysconfig.get_path("scripts", scheme=sysconfig.get_preferred_scheme("user"))
    packages = Path(__file__).resolve().parent.parent
    yield str(packages / "bin")  # --target: <target>/thalweg
    if len(packages.parents) > 2:  # --prefix: <prefix>/lib/python3.x/site-packages/thalweg
        yield str(packages.parents[2] / "bin")

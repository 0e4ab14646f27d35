"""pytest's root, settled again where the value of an option has moved it.

pytest chooses its root, and with it the ini file, before it loads the plug-ins of installed packages. Until then it
takes `/a/model` in `--attnres-trained /a/model` for a path of tests: the root becomes that folder, the ini file
beside the tests is not read, and reports land in the checkpoint. Once our options are known, the choice is made again.

An ini file of the folder of the command that sets `attnres_` options counts even where the tests lie elsewhere: another
checkpoint than the one that it names would be measured in silence.
"""

from __future__ import annotations

import copy
from functools import partial

import pytest
from _pytest.config.findpaths import determine_setup


def settle_root(config: pytest.Config, args: list[str]) -> None:
    """Choose root and ini file from the paths of tests alone, and put that ini file's `addopts` into `args`."""
    known = config.known_args_namespace
    choose = partial(
        determine_setup,
        inifile=known.inifilename,
        override_ini=known.override_ini,
        rootdir_cmd_arg=known.rootdir or None,
        invocation_dir=config.invocation_params.dir,
    )
    root, ini, content, ignored = choose(args=[])
    if not any(name.startswith("attnres_") for name in content):
        root, ini, content, ignored = choose(args=known.file_or_dir)
    if (root, ini) == (config.rootpath, config.inipath):
        return
    wrong = list(config.getini("addopts"))
    config._rootpath, config._inipath, config._inicfg, config._ignored_config_files = root, ini, content, ignored
    config._inicache.clear()
    config._parser.extra_info |= {"rootdir": str(root), "inifile": str(ini)}
    start = len(wrong) if args[: len(wrong)] == wrong else 0  # (pytest put the other file's in front)
    args[:start] = config.getini("addopts")
    config._configure_python_path()
    config.pluginmanager.consider_preparse(args, exclude_only=False)
    config.known_args_namespace = config._parser.parse_known_args(args, namespace=copy.copy(config.option))
    if config.known_args_namespace.confcutdir is None:
        config.known_args_namespace.confcutdir = str(ini.parent if ini else root)

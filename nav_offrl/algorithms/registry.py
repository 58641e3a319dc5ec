"""The methods by name; a new one is a file beside this one and a line here."""

import importlib
from typing import Any

from nav_offrl.algorithms.method import Method, MethodConfig, Spaces
from nav_offrl.errors import NavOffrlError

# Name: module, class. The configuration is the class of the same name and "Config".
METHODS = {
    "bc": ("bc", "BC"),
    "qt_opt": ("qt_opt", "QTOpt"),
    "brac": ("brac", "BRAC"),
    "bear": ("bear", "BEAR"),
    "td3_bc": ("td3_bc", "TD3BC"),
    "awr": ("awr", "AWR"),
    "awac": ("awac", "AWAC"),
    "iql": ("iql", "IQL"),
    "cql": ("cql", "CQL"),
    "cal_ql": ("cal_ql", "CalQL"),
    "actionable_models": ("actionable_models", "ActionableModels"),
    "mt_opt": ("mt_opt", "MTOpt"),
    "gcivl": ("gcivl", "GCIVL"),
    "hiql": ("hiql", "HIQL"),
    "qrl": ("qrl", "QRL"),
    "crl": ("crl", "CRL"),
}


def method_config(name: str) -> type[MethodConfig]:
    """Return the configuration class of a method.

    Raises:
        NavOffrlError: no method has that name.
    """
    module, class_name = _found(name)
    config: type[MethodConfig] = getattr(module, f"{class_name}Config")
    return config


def make_method(config: MethodConfig, spaces: Spaces) -> Method:
    """Make the method that `config` is the configuration of.

    Raises:
        NavOffrlError: it cannot learn on discrete actions, and `spaces` has them.
    """
    module, class_name = _found(config.name)
    if spaces.grid is not None and not config.discrete:
        others = [name for name in METHODS if method_config(name).discrete]
        raise NavOffrlError(
            f"method '{config.name}' learns on continuous actions only",
            where="field 'actions'",
            remedy=f"leave the grid out, or use one of {', '.join(others)}",
        )
    method: Method = getattr(module, class_name)(config, spaces)
    return method


def _found(name: str) -> tuple[Any, str]:
    if name not in METHODS:
        raise NavOffrlError(
            f"no method is called '{name}'",
            where="field 'method.name'",
            remedy=f"use one of {', '.join(METHODS)}",
        )
    module, class_name = METHODS[name]
    return importlib.import_module(f"nav_offrl.algorithms.{module}"), class_name

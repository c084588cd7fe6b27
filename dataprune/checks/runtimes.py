"""Checks of the engine that serves a frozen network's features, before anything is trained."""

from dataprune.arrays import SIGNALS, computed
from dataprune.callables import check_target, parameters
from dataprune.config import SignalsConfig
from dataprune.errors import ConfigError
from dataprune.plan import Plan
from dataprune.runtimes.runtime import GIVEN, KEY, OURS, check_installed, check_interpreter, spec_of


def check_runtime(config: SignalsConfig) -> None:
    """Raise a ConfigError for an engine that does not exist or takes other constants, is not installed, or has no
    interpreter; and for an interpreter that no engine asks for."""
    spec, key = spec_of(config.runtime), "signals.runtime_python"
    asks = frozenset(() if spec is None else check_target(spec, KEY, GIVEN).names)
    if "python" in asks:
        check_interpreter(key, config.runtime_python)
    elif config.runtime_python is not None:
        raise ConfigError(key, config.runtime_python, f"null: {KEY}={config.runtime!r} runs in this process")
    if spec is not None:
        own = [name for name in OURS if name == config.runtime and "python" not in asks]
        check_installed(KEY, config.runtime, own[0] if own else "onnx", "onnx", *own, instead="torch, or ")


def check_asked(config: SignalsConfig, plan: Plan, key: str) -> None:
    """Raise a ConfigError where a method asks for a signal that looks into the network, which an engine cannot show."""
    if spec_of(config.runtime) is None:
        return
    for name in (name for role in plan.looks for name in computed(role)):
        function = plan.signals[name]["_target_"] if name in plan.signals else SIGNALS[name].function
        if function is not None and "network" in parameters(function).names:
            raise ConfigError(KEY, config.runtime, f"torch: {name}, for {key}, looks into the network")

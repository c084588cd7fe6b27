"""Executors of futures on Ray and on Slurm, and the functions that `run.executor=ray | slurm` name.

Stages read and write one store, which all machines must see under one path; so must the folder of a user's modules.
"""

import importlib
import os
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future
from typing import Any

from dataprune.config import ResourcesConfig
from dataprune.errors import ConfigError

POLL_S = 2.0  # between looks at Slurm's jobs
DAY = 24 * 60  # minutes


class RayTasks(Executor):
    """Ray's core tasks with these options of `ray.remote`, each tried once: who waits for one tries it again."""

    def __init__(self, ray: Any, **options: Any) -> None:
        self.ray, self.options = ray, options
        self.tasks: list[Any] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Start a task."""
        self.tasks.append(self.ray.remote(**self.options)(fn).remote(*args, **kwargs))
        return self.tasks[-1].future()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the tasks that have not ended, if `cancel_futures`."""
        for task in self.tasks if cancel_futures else ():
            self.ray.cancel(task, force=True)


class SlurmJobs(Executor):
    """Submitit's jobs, looked at by one thread.

    Whether a job is alive is asked of `squeue`: submitit asks `sacct`, and where Slurm keeps no accounts it would wait
    for ever for a job that was killed.
    """

    def __init__(self, jobs: Any) -> None:
        self.jobs = jobs
        self.waiting: list[tuple[Any, Future]] = []
        self.lock, self.open = threading.Lock(), True
        threading.Thread(target=self._poll, daemon=True).start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Submit a job."""
        future: Future = Future()
        future.set_running_or_notify_cancel()
        with self.lock:  # submitit's executor is not made for several threads
            self.waiting.append((self.jobs.submit(fn, *args, **kwargs), future))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Cancel the jobs that have not ended."""
        self.open = False
        with self.lock:
            for job, future in self.waiting:
                job.cancel()
                future.set_exception(CancelledError())
            self.waiting.clear()

    def _poll(self) -> None:
        missed: set[str] = set()  # jobs that were neither queued nor had left a result when we looked last
        while self.open:
            time.sleep(POLL_S)
            with self.lock:
                waiting, alive = list(self.waiting), self._alive()
            if not self.open:
                return
            gone = {job.job_id for job, _ in waiting if alive is not None and job.job_id not in alive}
            for job, future in waiting:
                if job.paths.result_pickle.exists():
                    _settle(job, future)
                elif job.job_id in gone & missed:  # twice: a result is seen late on a network's disk
                    future.set_exception(RuntimeError(f"Slurm's job {job.job_id} ended without a result"))
                else:
                    continue
                with self.lock:
                    self.waiting.remove((job, future))
            missed = gone

    def _alive(self) -> set[str] | None:
        """The jobs that Slurm knows as waiting or running; None where it does not answer, or there is none."""
        if self.jobs.cluster != "slurm":
            return {job.job_id for job, _ in self.waiting if not job.done()}
        told = subprocess.run(["squeue", "-h", "-o", "%A"], capture_output=True, text=True, check=False)
        return set(told.stdout.split()) if told.returncode == 0 else None


def _settle(job: Any, future: Future) -> None:
    """Give the future what the job has left."""
    try:
        error = job.exception()
        result = None if error else job.result()
    except Exception as unreadable:  # whatever unpickling the file raises
        error = unreadable
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


def ray(resources: ResourcesConfig, address: str | None = None) -> Executor:
    """Return tasks of a Ray cluster: the one at `address`, else the one that runs here, else one of this machine."""
    module = extra("ray", "ray-tasks", "run.executor")
    if not module.is_initialized():
        paths = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), os.getcwd()]))
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        options["runtime_env"] = {"env_vars": {"PYTHONPATH": paths, "OMP_WAIT_POLICY": "PASSIVE"}}
        try:
            module.init(address=address or "auto", **options)
        except ConnectionError:
            if address is not None:
                raise ConfigError("run.executor.address", address, "the address of a Ray cluster that runs") from None
            module.init(include_dashboard=False, **options)
    asked: dict[str, Any] = {"num_cpus": resources.cpus, "num_gpus": resources.gpus, "max_retries": 0}
    asked |= {} if resources.memory is None else {"memory": int(resources.memory * 1e9)}
    return RayTasks(module, **asked)


def slurm(resources: ResourcesConfig, folder: str = ".submitit", cluster: str = "slurm", **options: Any) -> Executor:
    """Return jobs of Slurm, one a stage. folder: for their scripts and output. options: of submitit's
    `update_parameters`, such as slurm_partition."""
    jobs = extra("submitit", "slurm", "run.executor").AutoExecutor(folder=folder, cluster=cluster)
    asked: dict[str, Any] = {"cpus_per_task": resources.cpus, "timeout_min": resources.minutes or DAY}
    asked |= {"gpus_per_node": resources.gpus} if resources.gpus else {}
    asked |= {} if resources.memory is None else {"mem_gb": resources.memory}
    jobs.update_parameters(**(asked | options))
    return SlurmJobs(jobs)


def extra(module: str, name: str, key: str) -> Any:
    """Import a module of an extra, or say how it is installed: a ConfigError of `key`."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ConfigError(key, module, f"pip install 'dataprune[{name}]' before") from None

"""Sweeps on Ray and on a Slurm that this test starts: a lane of its own (`make test-engines`), skipped without them."""

import importlib.util
import os
import shutil
import signal
import subprocess
import time

import pytest

from tests.conftest import TINY
from tests.test_kill import start, wait_for
from tests.test_sweeps import rows, trains

SWEEP = [word for word in TINY if not word.startswith("transfer")]
SWEEP = ["-m", *SWEEP, "target=none", "method=random,el2n", "prune_ratio=0.5", "run.report=false", "run.threads=1"]
DAEMONS = ("munged", "slurmctld", "slurmd", "squeue", "scancel")
CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
SlurmctldPort=16827
SlurmdPort=16828
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MailProg=/bin/true
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} CoresPerSocket={cores} RealMemory=2000 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def there(module):
    return importlib.util.find_spec(module) is not None


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """A Slurm of one node, this machine; its daemons end with the tests."""
    if not (there("submitit") and all(map(shutil.which, DAEMONS)) and os.geteuid() == 0):
        pytest.skip("no submitit, or no Slurm and munge, or not root")
    folder = tmp_path_factory.mktemp("slurm")
    folder.chmod(0o755)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    host = subprocess.run(["hostname", "-s"], capture_output=True, text=True, check=True).stdout.strip()
    (folder / "slurm.conf").write_text(CONF.format(folder=folder, host=host, cores=os.cpu_count()))
    munge = {"key-file": "munge.key", "socket": "munge.sock", "pid-file": "munged.pid", "log-file": "munged.log"}
    options = [f"--{name}={folder / file}" for name, file in (munge | {"seed-file": "munged.seed"}).items()]
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    subprocess.run(["munged", "-f", *options], check=True)
    subprocess.run(["slurmctld"], check=True)
    subprocess.run(["slurmd", "-N", host], check=True)
    idle = ["sinfo", "-h", "-t", "idle", "-o", "%n"]
    wait_for(lambda: host in subprocess.run(idle, capture_output=True, text=True).stdout, 60)
    yield folder
    subprocess.run(["scancel", "-u", "root"], check=False)
    time.sleep(2)
    for name in ("slurmd", "slurmctld", "munged"):
        os.kill(int((folder / f"{name}.pid").read_text()), signal.SIGTERM)
    os.environ.pop("SLURM_CONF") if before is None else os.environ.update(SLURM_CONF=before)


def queued():
    return subprocess.run(["squeue", "-h", "-o", "%A"], capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.timeout(600)
def test_a_sweep_runs_through_slurm_and_a_cancelled_stage_goes_on(slurm, tmp_path):
    words = [*SWEEP, "source.reader.per_class=40", "pretrain.epochs=60", "pretrain.batch_size=16", "run.executor=slurm"]
    sweep = start(tmp_path, *words)
    wait_for(lambda: trains(tmp_path), 200)
    running = queued()
    assert running
    subprocess.run(["scancel", *running], check=True)
    assert sweep.wait(400) == 0, (tmp_path / "log0.txt").read_text()[-2000:]
    log = (tmp_path / "log0.txt").read_text()
    assert "tried again" in log
    assert len(rows(tmp_path)) == 2
    assert start(tmp_path, *words).wait(200) == 0
    assert not queued(), "what is found is not submitted"


@pytest.mark.timeout(600)
def test_an_interrupted_driver_cancels_its_jobs(slurm, tmp_path):
    sweep = start(tmp_path, *SWEEP, "source.reader.per_class=40", "pretrain.epochs=900", "run.executor=slurm")
    wait_for(lambda: trains(tmp_path), 200)
    os.kill(sweep.pid, signal.SIGINT)
    assert sweep.wait(60) != 0
    wait_for(lambda: not queued(), 60)


@pytest.mark.timeout(600)
@pytest.mark.skipif(not there("ray"), reason="needs ray")
def test_a_sweep_runs_on_ray(tmp_path):
    sweep = start(tmp_path, *SWEEP, "run.executor=ray")
    assert sweep.wait(400) == 0, (tmp_path / "log0.txt").read_text()[-2000:]
    assert len(rows(tmp_path)) == 2

"""How several machines meet: where, who drives, and who is not let in. (What they do then: tests/test_lost.py.)"""

import contextlib
import json
import os
import socket
import subprocess
import threading
import time

import pytest

from dataprune import nodes
from dataprune.checks.job import check_functions
from dataprune.config import RunConfig
from dataprune.errors import ConfigError
from dataprune.nodes import Gone, Line, endpoint, serve
from dataprune.processes import take_rank


def test_the_machines_of_slurm_meet_at_the_first_by_the_number_of_the_job(monkeypatch, tmp_path):
    script = tmp_path / "scontrol"
    script.write_text('#!/bin/sh\nshift 2\n[ "$1" = "gpu[03-04]" ] && printf \'gpu03\\ngpu04\\n\'\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "gpu[03-04]")
    monkeypatch.setenv("SLURM_JOB_ID", "40017")
    assert endpoint(RunConfig(nodes=2)) == ("gpu03", 20017)
    assert endpoint(RunConfig(nodes=2, rendezvous="there:29500")) == ("there", 29500)


@pytest.mark.parametrize("value", [None, "there", "there:", ":29500", "there:port"])
def test_without_an_address_they_do_not_meet(monkeypatch, value):
    monkeypatch.delenv("SLURM_JOB_NODELIST", raising=False)
    with pytest.raises(ConfigError, match=r"^run\.rendezvous=.*: expected host:port of the first machine"):
        endpoint(RunConfig(nodes=2, rendezvous=value))


def test_a_host_that_nobody_knows_is_said_at_once():
    with pytest.raises(ConfigError, match=r"^run\.rendezvous='no-such-host\.invalid:29500': expected host:port"):
        nodes._listen("no-such-host.invalid", 29500)


def test_the_first_to_come_to_its_own_machine_drives():
    with nodes._listen("127.0.0.1", 0) as first:
        assert nodes._listen("127.0.0.1", first.getsockname()[1]) is None
    assert nodes._listen("192.0.2.1", 29500) is None, "another machine's address"


@pytest.fixture
def pair():
    """The driver's listener, and a line of another machine to it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener, Line(socket.create_connection(listener.getsockname()), "the first")


def test_another_command_is_not_let_in(pair, monkeypatch):
    listener, line = pair
    monkeypatch.setattr(nodes, "WAIT_S", 0.5)
    monkeypatch.setattr(nodes, "_job", lambda: "mine" if threading.current_thread() is threading.main_thread() else "b")
    refused = []

    def other():
        with pytest.raises(ConfigError, match=r"^run\.rendezvous='the first': expected an address of this job's own"):
            serve(line)
        refused.append(True)

    thread = threading.Thread(target=other)
    thread.start()
    with pytest.raises(ConfigError, match=r"^run\.nodes=2: expected 2, or fewer: 1 came in"):
        nodes._others(listener, 1)
    thread.join()
    assert refused


def test_a_machine_serves_until_the_first_ends_and_not_without_it(pair):
    listener, line = pair
    ended = []
    thread = threading.Thread(target=lambda: ended.append(serve(line)))
    thread.start()
    (there,) = nodes._others(listener, 1)
    there.send(end=True)
    thread.join(10)
    assert ended == [None]
    there.connection.close()
    with pytest.raises(Gone, match="the first has gone"):
        line.messages(1)


def test_processes_are_numbered_machine_by_machine(monkeypatch):
    for name, value in {
        "DATAPRUNE_NODE": 1,
        "LOCAL_WORLD_SIZE": 4,
        "LOCAL_RANK": 2,
        "RANK": 2,
        "GROUP_RANK": 0,
    }.items():
        monkeypatch.setenv(name, str(value))
    take_rank()

    assert (os.environ["RANK"], os.environ["GROUP_RANK"]) == ("6", "1")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run.rendezvous=there:1"], r"^run\.rendezvous='there:1': expected null, or run\.nodes=2 or more"),
        (["run.nodes=0"], r"^run\.nodes=0: expected 1 or more"),
        (["run.nodes=2", "pretrain.processes=3"], r"^pretrain\.processes=3: expected 1, or a multiple of run\.nodes=2"),
        (
            ["run.nodes=2", "run.devices=2", "pretrain.processes=6"],
            r"^pretrain\.processes=6: expected at most run\.devices=2 on each of run\.nodes=2",
        ),
    ],
)
def test_what_machines_cannot_share_is_said_before_they_meet(jobs, words, said):
    with pytest.raises(ConfigError, match=said):
        check_functions(jobs.config(*words, "pretrain.batch_size=12"))


def test_a_task_that_comes_with_the_end_of_the_one_before_is_not_lost(pair, monkeypatch, tmp_path):
    listener, line = pair
    begun = []

    @contextlib.contextmanager
    def sleeping(work, processes, threads, spot):
        begun.append(spot.id)
        with subprocess.Popen(["sleep", "60" if spot.id == "a" else "0"]) as agent:
            yield agent
            agent.kill()

    monkeypatch.setattr(nodes, "torchrun", sleeping)
    thread = threading.Thread(target=serve, args=(line,))
    thread.start()
    (there,) = nodes._others(listener, 1)
    about = {"work": str(tmp_path), "processes": 1, "threads": 1}
    spots = [{"node": 1, "nodes": 2, "endpoint": "here:1", "id": id} for id in "ab"]
    there.send(**about, spot=spots[0])
    while not begun:
        time.sleep(0.01)
    messages = [{"stop": "a"}, about | {"spot": spots[1]}, {"end": True}]
    there.connection.sendall(b"".join(json.dumps(message).encode() + b"\n" for message in messages))
    thread.join(10)
    assert begun == ["a", "b"]
    answers = there.messages(1)
    assert [answer["id"] for answer in answers] == ["a", "b"]
    assert answers[0]["code"] != 0
    assert answers[1]["code"] == 0

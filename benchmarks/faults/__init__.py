"""What a job survives: kills, lost workers, flipped bytes, full and read-only disks, equal PIDs, bad input.

    python -m benchmarks.faults            # everything, under an hour on two cores
    python -m benchmarks.faults --short    # a few of each kind, under five minutes

One line a campaign: what | tried | survived | what fell. The exit code is 1 if anything fell that `__main__.KNOWN` does
not name. Linux only: processes are found by /proc, disks are made with mount, PIDs with unshare; what the machine does
not permit is said to be skipped.
"""

"""Where stages run: in this process, in workers of this machine, on Slurm, Ray, or any executor of futures.

`graph` is the table in which the stage calls of all jobs meet: each result is built once. An **engine** takes one
**message** (building.message_of: plain values) to where it is built and waits there; messages and answers are small,
results stay in the store.
"""

"""A driver as any user runs it: joins a cluster, runs a task, makes an actor.

    python ray_task.py GCS_ADDRESS

A job number, a job record and an actor record go to the cluster's store before
anything runs, so this works only where the store takes writes.
"""

import sys

import ray

ray.init(address=sys.argv[1], namespace="chaos", log_to_driver=False)


@ray.remote(num_cpus=0)
def double(number):
    return number * 2


@ray.remote(num_cpus=0)
class Counter:
    def __init__(self):
        self.count = 0

    def increase(self):
        self.count += 1
        return self.count


assert ray.get(double.remote(21), timeout=90) == 42
counter = Counter.remote()
assert ray.get([counter.increase.remote() for _ in range(3)], timeout=90) == [1, 2, 3]
print("worked", flush=True)

"""How fast rainzmq is, beside its peers: `python -m benchmarks`. README.md tells more, with the latest table.

    __main__ -> runner --one process per round, workload and system--> drivers/X_driver (in X's environment)
                  |                                                        |
               results -> table, picture                               workloads

The drivers import nothing but the standard library, psutil, `workloads` and the system they drive, because
they run in that system's environment.
"""

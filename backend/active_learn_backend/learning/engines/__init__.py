"""Where the heavy work of a round is done: on this machine, or on a Ray cluster.

Nothing is imported here: a worker of the cluster that only reads tasks loads no model.
"""
